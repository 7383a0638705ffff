package chaos

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// namespaces are the network of a fleet whose members have network namespaces, and addresses, of their own. Each is joined by a
// cable (a pair of virtual interfaces) to a bridge, at which the clients sit. What one member sends to another is lost by a
// route that leads nowhere; a cable can be pulled as well. The test's cleanup removes all of it.
type namespaces struct {
	t      testing.TB
	prefix string // of the names of everything here; it tells the process that they belong to
	subnet string // the first three numbers of all addresses
	cables map[int]bool
	pulled map[int]bool
	cut    map[[2]int]bool
}

// bridgeHost is the last number of the clients' address. That of member i is i+1.
const bridgeHost = 254

// newNamespaces makes a bridge. The test is skipped where that is not possible.
func newNamespaces(t testing.TB) *namespaces {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can make network namespaces")
	}
	removeOldNamespaces()
	n := &namespaces{t: t, prefix: fmt.Sprintf("hf%d", os.Getpid()), cables: map[int]bool{}, pulled: map[int]bool{}, cut: map[[2]int]bool{}}
	t.Cleanup(n.remove)
	subnet, err := freeSubnet()
	if err == nil {
		n.subnet = subnet
		err = errors.Join(ip("link", "add", n.bridge(), "type", "bridge"),
			ip("addr", "add", n.host(bridgeHost)+"/24", "dev", n.bridge()),
			ip("link", "set", n.bridge(), "up"))
	}
	if err == nil {
		err = n.join(0)
	}
	if err != nil {
		t.Skipf("network namespaces cannot be made here: %v", err)
	}
	return n
}

func (n *namespaces) bridge() string            { return n.prefix + "b" }
func (n *namespaces) space(member int) string   { return fmt.Sprintf("%sm%d", n.prefix, member) }
func (n *namespaces) cable(member int) string   { return fmt.Sprintf("%sc%d", n.prefix, member) }
func (n *namespaces) host(number int) string    { return fmt.Sprintf("%s.%d", n.subnet, number) }
func (n *namespaces) address(member int) string { return n.host(member + 1) }
func (n *namespaces) through(member int) []string {
	return []string{"ip", "netns", "exec", n.space(member)}
}

// join makes the namespace of a member and joins it to the bridge.
func (n *namespaces) join(member int) error {
	if n.cables[member] {
		return nil
	}
	n.cables[member] = true
	space, cable := n.space(member), n.cable(member)
	for _, args := range [][]string{
		{"netns", "add", space},
		{"link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space},
		{"link", "set", cable, "master", n.bridge()},
		{"link", "set", cable, "up"},
		{"-n", space, "link", "set", "lo", "up"},
		{"-n", space, "addr", "add", n.address(member) + "/24", "dev", "eth0"},
		{"-n", space, "link", "set", "eth0", "up"},
	} {
		if err := ip(args...); err != nil {
			return err
		}
	}
	return nil
}

// place gives a member the usual ports of an address of its own.
func (n *namespaces) place(member int) place {
	n.t.Helper()
	if err := n.join(member); err != nil {
		n.t.Fatal(err)
	}
	peer := n.address(member) + ":2380"
	return place{client: n.address(member) + ":2379", peer: peer, reached: peer, through: n.through(member)}
}

// set makes or removes the route that leads nowhere.
func (n *namespaces) set(from, to int, cut bool) {
	n.t.Helper()
	link := [2]int{from, to}
	if n.cut[link] == cut {
		return
	}
	what := "add"
	if !cut {
		what = "del"
	}
	if err := ip("-n", n.space(from), "route", what, "blackhole", n.address(to)+"/32"); err != nil {
		n.t.Fatal(err)
	}
	n.cut[link] = cut
}

// pull pulls the cable of a member: neither members nor clients reach it.
func (n *namespaces) pull(member int, out bool) {
	n.t.Helper()
	state := "up"
	if out {
		state = "down"
	}
	if err := ip("link", "set", n.cable(member), state); err != nil {
		n.t.Fatal(err)
	}
	n.pulled[member] = out
}

func (n *namespaces) heal() {
	n.t.Helper()
	for link, cut := range n.cut {
		if cut {
			n.set(link[0], link[1], false)
		}
	}
	for member, out := range n.pulled {
		if out {
			n.pull(member, false)
		}
	}
}

// remove removes everything. The members that lived in it have ended, since their cleanup comes first.
func (n *namespaces) remove() {
	if err := removeNamespaces(n.prefix + "[bmc]"); err != nil {
		n.t.Errorf("not all of the network is removed: %v", err)
	}
}

// removeNamespaces removes the interfaces and the namespaces whose names begin as said.
func removeNamespaces(expression string) error {
	begins := regexp.MustCompile("^" + expression)
	var errs []error
	interfaces, err := net.Interfaces()
	errs = append(errs, err)
	for _, i := range interfaces {
		if begins.MatchString(i.Name) {
			errs = append(errs, ip("link", "del", i.Name))
		}
	}
	spaces, err := filepath.Glob("/run/netns/*")
	errs = append(errs, err)
	for _, path := range spaces {
		if name := filepath.Base(path); begins.MatchString(name) {
			errs = append(errs, ip("netns", "del", name))
		}
	}
	return errors.Join(errs...)
}

// removeOldNamespaces removes what processes have left that were ended before they could.
func removeOldNamespaces() {
	owner := regexp.MustCompile(`^hf([0-9]+)[bmc]`)
	var names []string
	interfaces, _ := net.Interfaces()
	for _, i := range interfaces {
		names = append(names, i.Name)
	}
	spaces, _ := filepath.Glob("/run/netns/*")
	for _, path := range spaces {
		names = append(names, filepath.Base(path))
	}
	for _, name := range names {
		m := owner.FindStringSubmatch(name)
		if m == nil {
			continue
		}
		if pid, err := strconv.Atoi(m[1]); err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = removeNamespaces("hf" + m[1] + "[bmc]") // Another process may be at it, too.
		}
	}
}

// freeSubnet returns a subnet of those that are set aside for measurements (RFC 2544) which nobody uses here.
func freeSubnet() (string, error) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return "", err
	}
	for i := range 256 {
		subnet := fmt.Sprintf("198.18.%d", (os.Getpid()+i)%256)
		taken := false
		for _, a := range addresses {
			taken = taken || strings.HasPrefix(a.String(), subnet+".")
		}
		if !taken {
			return subnet, nil
		}
	}
	return "", errors.New("every subnet of 198.18.0.0/16 is in use")
}

func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// another waits until the others write without a leader that is cut off, and holds that one of them leads now: a cut that
// cuts nothing would not be seen otherwise.
func (l *load) another(cut *box, what string) {
	l.f.t.Helper()
	l.writes(l.f.others(cut), what)
	if now := l.f.leader(); now == cut {
		l.f.t.Errorf("%s still leads although %s", cut.name, what)
	}
}

// TestNamespaces holds what TestThree holds for members with addresses of their own, between which the kernel loses what
// is sent: nothing in this process sees a byte of it.
func TestNamespaces(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes 20 seconds")
	}
	n := newNamespaces(t)
	f := fleetOn(t, n, 500*time.Millisecond)
	for range 3 {
		f.add("")
	}
	f.start()
	l := f.work(seedOf(t), 6, 12)
	for i := range fromEnv(t, "HOLDFAST_CHAOS_NAMESPACES", 1) {
		if i > 0 && over(t, 1) {
			break
		}
		t.Logf("first write after kill -9 of the leader: %s election timeouts", f.elections(l.killLeader()))
		for _, way := range []struct {
			sends, receives bool
			what            string
		}{
			{true, true, "no route leads from the leader to others nor from them to it"},
			{true, false, "no route leads from the leader to others"},
			{false, true, "no route leads from others to the leader"},
		} {
			leader := f.leader()
			f.isolate(leader, way.sends, way.receives)
			l.another(leader, way.what)
			f.heal()
			f.pass(f.election / 2)
		}
		leader := f.leader()
		n.pull(leader.index, true)
		l.another(leader, "the leader's cable is pulled")
		f.heal()
	}
	l.finish()
}
