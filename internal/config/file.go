package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

func readSettings(path string, readFile func(string) ([]byte, error)) (map[string]given, error) {
	if readFile == nil {
		return nil, &refusal{kind: ErrFile, text: fmt.Sprintf("The configuration file %s cannot be read here.", path)}
	}
	content, err := readFile(path)
	if err != nil {
		return nil, &refusal{kind: ErrFile, cause: err, text: fmt.Sprintf("The configuration file %s cannot be read: %v. "+
			"Check --config-file.", path, err)}
	}
	return decodeFile(path, content)
}

// decodeFile reads a configuration file: one YAML mapping from names of settings to values. A key without a
// value counts as absent; a key given twice is refused. As in etcd, a bare number for a duration is nanoseconds;
// durations may also be written like 5s, sizes like 64MiB, and lists as YAML lists.
func decodeFile(path string, content []byte) (map[string]given, error) {
	broken := func(cause error) error {
		return &refusal{kind: ErrFile, cause: cause, text: fmt.Sprintf("The configuration file %s is not understood: %v. "+
			"It must be YAML with one \"name: value\" a line, where name is that of a flag.", path, cause)}
	}
	asJSON, err := yaml.YAMLToJSONStrict(content)
	if err != nil {
		return nil, broken(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(asJSON))
	decoder.UseNumber()
	var keys map[string]any
	if err := decoder.Decode(&keys); err != nil {
		return nil, broken(errors.New("it is not a mapping of names to values"))
	}
	if keys, err = withSections(keys); err != nil {
		return nil, inFile(path, err)
	}
	values := map[string]given{}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		s, ok := lookup(key)
		if isEmpty(keys[key]) && (ok || removed[key] != "") {
			continue
		}
		if !ok {
			return nil, inFile(path, unknownName("", key))
		}
		if s.OnlyFlag {
			return nil, inFile(path, unknownError("%s cannot be set in a configuration file, only as the flag --%s.", key, key))
		}
		text, complaint := scalarOrList(s, keys[key])
		if complaint != "" {
			return nil, inFile(path, valueError("%s is %v, but %s", key, keys[key], complaint))
		}
		values[key] = given{text: text, source: FromFile, from: path}
	}
	return values, nil
}

// section is a mapping under which etcd's file has settings: its keys with the settings that they stand for, a dot for
// each mapping in a mapping. A key without a setting is ignored.
type section struct {
	name string
	keys map[string]string
}

var sections = []section{
	{"client-transport-security", map[string]string{
		"cert-file": "cert-file", "key-file": "key-file", "client-cert-file": "client-cert-file",
		"client-key-file": "client-key-file", "client-cert-auth": "client-cert-auth", "trusted-ca-file": "trusted-ca-file",
		"auto-tls": "auto-tls", "allowed-hostname": "client-cert-allowed-hostname", "skip-client-san-verification": "",
	}},
	{"peer-transport-security", map[string]string{
		"cert-file": "peer-cert-file", "key-file": "peer-key-file", "client-cert-file": "peer-client-cert-file",
		"client-key-file": "peer-client-key-file", "client-cert-auth": "peer-client-cert-auth",
		"trusted-ca-file": "peer-trusted-ca-file", "auto-tls": "peer-auto-tls", "allowed-cn": "peer-cert-allowed-cn",
		"allowed-hostname": "peer-cert-allowed-hostname", "skip-client-san-verification": "peer-skip-client-san-verification",
	}},
	{"socket-options", map[string]string{"reuse-port": "socket-reuse-port", "reuse-address": "socket-reuse-address"}},
	{"discovery-config", map[string]string{
		"token": "discovery-token", "client.endpoints": "discovery-endpoints", "client.dial-timeout": "discovery-dial-timeout",
		"client.request-timeout": "discovery-request-timeout", "client.keepalive-time": "discovery-keepalive-time",
		"client.keepalive-timeout": "discovery-keepalive-timeout", "client.max-request-bytes": "", "client.max-recv-bytes": "",
		"client.secure.cert": "discovery-cert", "client.secure.key": "discovery-key", "client.secure.cacert": "discovery-cacert",
		"client.secure.insecure-transport":       "discovery-insecure-transport",
		"client.secure.insecure-skip-tls-verify": "discovery-insecure-skip-tls-verify",
		"client.auth.username":                   "discovery-user", "client.auth.password": "discovery-password",
	}},
}

// flatten puts the keys of mappings in a mapping, such as a: {b: c}, under names of their own: a.b: c.
func flatten(into map[string]any, prefix string, mapping map[string]any) map[string]any {
	for key, value := range mapping {
		if inner, ok := value.(map[string]any); ok {
			flatten(into, prefix+key+".", inner)
			continue
		}
		into[prefix+key] = value
	}
	return into
}

// withSections moves what stands under the sections to the names of the settings.
func withSections(keys map[string]any) (map[string]any, error) {
	for _, s := range sections {
		if err := s.move(keys); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

func (s section) move(keys map[string]any) error {
	if isEmpty(keys[s.name]) {
		delete(keys, s.name)
		return nil
	}
	mapping, ok := keys[s.name].(map[string]any)
	if !ok {
		return valueError("%s is not a mapping of names to values.", s.name)
	}
	section := flatten(make(map[string]any), "", mapping)
	delete(keys, s.name)
	for _, key := range slices.Sorted(maps.Keys(section)) {
		name, known := s.keys[key]
		switch {
		case isEmpty(section[key]) || known && name == "":
			continue
		case !known:
			return unknownError("%s has the key %s, which this version of Holdfast does not know.", s.name, key)
		case !isEmpty(keys[name]):
			return valueError("%s is set twice: by itself and under %s.", name, s.name)
		}
		keys[name] = section[key]
	}
	return nil
}

func inFile(path string, err error) error {
	r := err.(*refusal)
	return &refusal{kind: r.kind, cause: r.cause, text: "In the configuration file " + path + ": " + r.text}
}

// isEmpty reports a key without a value: etcd's sample file lists every setting so.
func isEmpty(value any) bool {
	text, isText := value.(string)
	list, isList := value.([]any)
	return value == nil || isText && text == "" || isList && len(list) == 0
}

// scalarOrList writes a YAML value as it would stand in a flag.
func scalarOrList(s Setting, value any) (text, complaint string) {
	switch v := value.(type) {
	case string:
		return v, ""
	case bool:
		return fmt.Sprint(v), ""
	case json.Number:
		whole, ok := new(big.Rat).SetString(v.String())
		if !ok || !whole.IsInt() || whole.Num().BitLen() > 64 {
			if s.Kind == Text {
				return v.String(), ""
			}
			return "", "must be a whole number of 64 bits"
		}
		if s.Kind == Duration {
			return whole.Num().String() + "ns", ""
		}
		return whole.Num().String(), ""
	case []any:
		if s.Kind != TextList && s.Kind != URLList && s.Kind != Members {
			return "", "must be a single value"
		}
		parts := make([]string, len(v))
		for i, part := range v {
			word, ok := part.(string)
			if !ok {
				return "", "must be a list of texts"
			}
			parts[i] = word
		}
		return strings.Join(parts, ","), ""
	}
	return "", "must be a single value"
}
