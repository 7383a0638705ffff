package config

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// InitialMember is one of the first members of a new cluster.
type InitialMember struct {
	// Name is the member's name, never empty, and unique in the list.
	Name string
	// PeerURLs are where the others reach it: at least one, sorted, without doubles.
	PeerURLs []url.URL
}

// decodeURLs reads URLs with commas between them by etcd's rules: scheme http, https, unix or unixs; host and port
// present and no path where the scheme is http or https. The result is sorted and without doubles.
func decodeURLs(text string) (urls []url.URL, complaint string) {
	for part := range strings.SplitSeq(text, ",") {
		u, complaint := decodeURL(strings.TrimSpace(part))
		if complaint != "" {
			return nil, complaint
		}
		urls = append(urls, u)
	}
	slices.SortFunc(urls, compareURLs)
	return slices.CompactFunc(urls, func(a, b url.URL) bool { return a.String() == b.String() }), ""
}

func compareURLs(a, b url.URL) int { return cmp.Compare(a.String(), b.String()) }

func decodeURL(text string) (_ url.URL, complaint string) {
	if text == "" {
		return url.URL{}, "must be one or more URLs such as http://127.0.0.1:2379, with commas between them"
	}
	u, err := url.Parse(text)
	if err != nil || !slices.Contains([]string{"http", "https", "unix", "unixs"}, u.Scheme) {
		return url.URL{}, fmt.Sprintf("each URL must begin with http://, https://, unix:// or unixs:// (%s does not)", text)
	}
	if isSocket(*u) {
		if u.Host+u.Path+u.Opaque == "" {
			return url.URL{}, fmt.Sprintf("a unix URL needs the path of a socket (%s has none)", text)
		}
		return *u, ""
	}
	_, port, err := net.SplitHostPort(u.Host)
	if err != nil || port == "" {
		return url.URL{}, fmt.Sprintf("each URL must have the form scheme://host:port (%s has no port)", text)
	}
	if n, err := strconv.Atoi(port); err != nil || n > 65535 {
		return url.URL{}, fmt.Sprintf("a port is a number from 0 to 65535 (in %s it is not)", text)
	}
	if u.Path != "" {
		return url.URL{}, fmt.Sprintf("a URL must not have a path (%s ends in %s)", text, u.Path)
	}
	if u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.User != nil {
		return url.URL{}, fmt.Sprintf("a URL must be only scheme://host:port (%s is more)", text)
	}
	return *u, ""
}

func isSocket(u url.URL) bool { return u.Scheme == "unix" || u.Scheme == "unixs" }

// bindable complains of URLs that a member cannot listen on without asking a name server.
func bindable(urls []url.URL) string {
	for _, u := range urls {
		if isSocket(u) || u.Hostname() == "localhost" || net.ParseIP(u.Hostname()) != nil {
			continue
		}
		return fmt.Sprintf("a URL to listen on needs an IP address or localhost (%s has neither); "+
			"to listen on every address write 0.0.0.0", u.String())
	}
	return ""
}

// reachable complains of URLs that say nothing to others.
func reachable(urls []url.URL) string {
	for _, u := range urls {
		if !isSocket(u) && u.Hostname() == "" {
			return fmt.Sprintf("an advertised URL needs a host that others can reach (%s has none)", u.String())
		}
	}
	return ""
}

func formatURLs(urls []url.URL) string {
	texts := make([]string, len(urls))
	for i, u := range urls {
		texts[i] = u.String()
	}
	return strings.Join(texts, ",")
}

// decodeMembers reads name=URL pairs. The members come back in the order of their names.
func decodeMembers(text string) (members []InitialMember, complaint string) {
	urls := map[string][]string{}
	for pair := range strings.SplitSeq(text, ",") {
		name, u, ok := strings.Cut(strings.TrimSpace(pair), "=")
		if !ok || name == "" {
			return nil, fmt.Sprintf("must be name=URL pairs with commas between them (%q is none)", pair)
		}
		urls[name] = append(urls[name], u)
	}
	for name, texts := range urls {
		m := InitialMember{Name: name}
		if m.PeerURLs, complaint = decodeURLs(strings.Join(texts, ",")); complaint != "" {
			return nil, complaint
		}
		members = append(members, m)
	}
	slices.SortFunc(members, func(a, b InitialMember) int { return cmp.Compare(a.Name, b.Name) })
	return members, firstShared(members)
}

// firstShared complains of a URL that two members claim. The members come in the order of their names, so that
// the sentence is the same every time.
func firstShared(members []InitialMember) string {
	owner := map[string]string{}
	for _, m := range members {
		for _, u := range m.PeerURLs {
			if other, taken := owner[u.String()]; taken {
				return fmt.Sprintf("two members must not share a URL (%s is given for %s and %s)", u.String(), other, m.Name)
			}
			owner[u.String()] = m.Name
		}
	}
	return ""
}

func formatMembers(members []InitialMember) string {
	var pairs []string
	for _, m := range members {
		for _, u := range m.PeerURLs {
			pairs = append(pairs, m.Name+"="+u.String())
		}
	}
	return strings.Join(pairs, ",")
}
