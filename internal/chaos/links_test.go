package chaos

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// links are the proxies between the members of one fleet. Member i is spoken to at the i-th address only; who speaks is
// found out from the kernel: the process that holds the other end of the connection.
type links struct {
	t   testing.TB
	pid func(member int) int // 0: it does not run

	mu        sync.Mutex
	changed   *sync.Cond
	cut       map[[2]int]bool // from, to: what from sends to to is held back
	listeners map[int]net.Listener
	conns     map[net.Conn]bool
	closed    bool
	group     sync.WaitGroup
}

func newLinks(t testing.TB, pid func(member int) int) *links {
	l := &links{t: t, pid: pid, cut: map[[2]int]bool{}, listeners: map[int]net.Listener{}, conns: map[net.Conn]bool{}}
	l.changed = sync.NewCond(&l.mu)
	t.Cleanup(l.close)
	return l
}

// open makes the address at which others reach a member that listens at target, and returns it.
func (l *links) open(member int, target string) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		l.t.Fatal(err)
	}
	l.mu.Lock()
	l.listeners[member] = listener
	l.mu.Unlock()
	l.group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			l.group.Go(func() { l.serve(conn, member, target) })
		}
	})
	return listener.Addr().String()
}

func (l *links) serve(conn net.Conn, to int, target string) {
	if !l.keep(conn) {
		return
	}
	defer l.drop(conn)
	from := l.who(conn)
	l.wait(from, to) // A connection cannot be made over a link that is cut.
	other, err := net.Dial("tcp", target)
	if err != nil || !l.keep(other) {
		return
	}
	defer l.drop(other)
	var pumps sync.WaitGroup
	pump := func(dst, src net.Conn, from, to int) {
		defer src.Close()
		defer dst.Close()
		buffer := make([]byte, 64<<10)
		for {
			n, err := src.Read(buffer)
			if n > 0 {
				if !l.wait(from, to) {
					return
				}
				if _, err := dst.Write(buffer[:n]); err != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}
	pumps.Go(func() { pump(other, conn, from, to) })
	pumps.Go(func() { pump(conn, other, to, from) })
	pumps.Wait()
}

func (l *links) keep(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		conn.Close()
		return false
	}
	l.conns[conn] = true
	return true
}

func (l *links) drop(conn net.Conn) {
	conn.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, conn)
}

// wait returns when what from sends may reach to, and false if the test is over.
func (l *links) wait(from, to int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.cut[[2]int{from, to}] && !l.closed {
		l.changed.Wait()
	}
	return !l.closed
}

// set cuts or heals what from sends to to.
func (l *links) set(from, to int, cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if cut {
		l.cut[[2]int{from, to}] = true
	} else {
		delete(l.cut, [2]int{from, to})
	}
	l.changed.Broadcast()
}

// heal lets everything through again.
func (l *links) heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.cut)
	l.changed.Broadcast()
}

func (l *links) close() {
	l.mu.Lock()
	l.closed = true
	for _, listener := range l.listeners {
		listener.Close()
	}
	for conn := range l.conns {
		conn.Close()
	}
	l.changed.Broadcast()
	l.mu.Unlock()
	l.group.Wait()
}

// who returns the member that made a connection, or -1.
func (l *links) who(conn net.Conn) int {
	remote, local := conn.RemoteAddr().(*net.TCPAddr), conn.LocalAddr().(*net.TCPAddr)
	inode := socketInode(remote.Port, local.Port)
	if inode == "" {
		return -1
	}
	for member := 0; member < maxMembers; member++ {
		if pid := l.pid(member); pid != 0 && holdsSocket(pid, inode) {
			return member
		}
	}
	return -1
}

// socketInode finds the socket from one port to another in the kernel's table.
func socketInode(from, to int) string {
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		file, err := os.Open(table)
		if err != nil {
			continue
		}
		defer file.Close()
		a, b := fmt.Sprintf(":%04X", from), fmt.Sprintf(":%04X", to)
		lines := bufio.NewScanner(file)
		for lines.Scan() {
			fields := strings.Fields(lines.Text())
			if len(fields) > 9 && strings.HasSuffix(fields[1], a) && strings.HasSuffix(fields[2], b) {
				return fields[9]
			}
		}
	}
	return ""
}

func holdsSocket(pid int, inode string) bool {
	files, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/fd/*")
	for _, file := range files {
		if name, err := os.Readlink(file); err == nil && name == "socket:["+inode+"]" {
			return true
		}
	}
	return false
}

// TestLinks holds C1 without any member: this process speaks to itself over a link, which is cut one way, the other, and
// healed.
func TestLinks(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	l := newLinks(t, func(member int) int {
		if member == 0 {
			return os.Getpid()
		}
		return 0
	})
	a, err := net.Dial("tcp", l.open(1, server.Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	send := func(from, to net.Conn, text string) error {
		if _, err := io.WriteString(from, text); err != nil {
			t.Fatal(err)
		}
		return expect(to, text)
	}
	if err := send(a, b, "there"); err != nil {
		t.Fatal(err)
	}
	l.set(0, 1, true)
	if err := send(a, b, "lost"); err == nil {
		t.Fatal("it came over a link that is cut")
	}
	if err := send(b, a, "back"); err != nil {
		t.Fatalf("the other direction is cut, too: %v", err)
	}
	l.heal()
	if err := expect(b, "lost"); err != nil {
		t.Fatal(err)
	}
	l.set(1, 0, true)
	if err := send(b, a, "lost"); err == nil {
		t.Fatal("it came over a link that is cut")
	}
}
