package cli

import (
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Settings are the client's flags on a command of another room, which makes clients of its own.
type Settings struct{ f *family }

// NewSettings gives cmd the client's flags. --hex does nothing there and is not shown.
func NewSettings(cmd *cobra.Command) *Settings {
	s := &Settings{&family{globals: &globals{}}}
	all := &cobra.Command{}
	s.f.globals.register(all.Flags())
	all.Flags().Lookup("hex").Hidden = true
	cmd.Flags().AddFlagSet(all.Flags())
	cmd.SetUsageFunc(usage)
	cmd.SetFlagErrorFunc(badFlag)
	return s
}

// Read returns what to make clients of, how long one request may take, and the value of --write-out. It takes what is
// not on the command line from the environment and asks for a password if it must (C2).
func (s *Settings) Read(cmd *cobra.Command) (spec clientv3.ConfigSpec, timeout time.Duration, writeOut string, err error) {
	c, err := s.f.connector(cmd)
	if err != nil {
		return clientv3.ConfigSpec{}, 0, "", err
	}
	return c.spec, c.timeout, s.f.globals.writeOut, nil
}

// Exit is the error of a command that has said all it has to say and exits with code.
func Exit(code int, err error) error { return &failure{code: code, err: err, said: true} }
