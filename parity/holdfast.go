package parity

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
)

// Binary returns the Holdfast program to compare: that named by HOLDFAST_BINARY, or one built into dir from the module around this one.
func Binary(dir string) (string, error) {
	if path := os.Getenv("HOLDFAST_BINARY"); path != "" {
		return filepath.Abs(path)
	}
	root, err := filepath.Abs("..")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "holdfast")
	build := exec.Command("go", "build", "-o", path, "./cmd/holdfast")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build holdfast: %w\n%s", err, out)
	}
	return path, nil
}

// Holdfast is a Holdfast server in a process of its own.
type Holdfast struct {
	binary, dir  string
	settings     Settings
	client, peer string
	conn         *grpc.ClientConn
	process      *exec.Cmd
	ended        chan struct{} // closed when process has ended
	exit         error         // why; read after ended
}

// StartHoldfast starts the binary on dir.
func StartHoldfast(binary, dir string, settings Settings) (*Holdfast, error) {
	h := &Holdfast{binary: binary, dir: dir, settings: settings}
	var err error
	if h.client, err = freeAddress(); err != nil {
		return nil, err
	}
	if h.peer, err = freeAddress(); err != nil {
		return nil, err
	}
	return h, h.start()
}

func (h *Holdfast) logPath() string { return h.dir + ".log" }

func (h *Holdfast) start() error {
	client, peer := "http://"+h.client, "http://"+h.peer
	cmd := exec.Command(h.binary, "serve",
		"--data-dir", h.dir,
		"--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
		"--initial-cluster", "default="+peer,
		"--heartbeat-interval", strconv.Itoa(tickMilliseconds), "--election-timeout", strconv.Itoa(electionMilliseconds),
		"--bcrypt-cost", strconv.Itoa(bcryptCost), "--auth-token-ttl", strconv.Itoa(tokenSeconds),
		"--quota-backend-bytes", strconv.FormatInt(h.settings.QuotaBytes, 10),
		"--log-format", "json")
	cmd.Env = withoutSettings(os.Environ())
	log, err := os.OpenFile(h.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	// The server must not outlive a test that is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start holdfast: %w", err)
	}
	h.process, h.ended = cmd, make(chan struct{})
	go func(ended chan struct{}) {
		h.exit = cmd.Wait()
		close(ended)
	}(h.ended)
	if h.conn, err = dial(h.client); err != nil {
		return err
	}
	if err := waitServing(h.conn, 30*time.Second, h.ended); err != nil {
		h.stop(syscall.SIGKILL)
		return fmt.Errorf("start holdfast: %w\n%s", err, h.Diagnosis())
	}
	return nil
}

// withoutSettings leaves out the variables that a server would take for settings: both sides get theirs from flags alone.
func withoutSettings(environment []string) []string {
	return slices.DeleteFunc(environment, func(v string) bool {
		return strings.HasPrefix(v, "HOLDFAST_") || strings.HasPrefix(v, "ETCD_")
	})
}

// stop sends the signal and waits for the end of the process.
func (h *Holdfast) stop(signal syscall.Signal) error {
	h.conn.Close()
	if err := h.process.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-h.ended:
	case <-time.After(30 * time.Second):
		h.process.Process.Kill()
		<-h.ended
		return fmt.Errorf("holdfast did not end within 30 s of %v and was killed\n%s", signal, h.Diagnosis())
	}
	if signal != syscall.SIGKILL && h.exit != nil {
		return fmt.Errorf("holdfast ended badly after %v: %w\n%s", signal, h.exit, h.Diagnosis())
	}
	return nil
}

// Name implements System.
func (h *Holdfast) Name() string { return "holdfast" }

// Conn implements System.
func (h *Holdfast) Conn() *grpc.ClientConn { return h.conn }

// Restart implements System.
func (h *Holdfast) Restart(how Restart) error {
	signal := syscall.SIGTERM
	if how == Kill {
		signal = syscall.SIGKILL
	}
	if err := h.stop(signal); err != nil {
		return err
	}
	return h.start()
}

// Close implements System. A server that ends with an error, or had ended before, is an error.
func (h *Holdfast) Close() error { return h.stop(syscall.SIGTERM) }

// Diagnosis implements System.
func (h *Holdfast) Diagnosis() string { return tail(h.logPath()) }

// tail returns the last 4 KiB of a file, or says why it cannot.
func tail(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(content[max(0, len(content)-4096):])
}
