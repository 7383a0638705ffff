package cli

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

func (f *family) snapshotCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "snapshot <subcommand>",
		Short: "Save, look at and restore snapshots",
		Example: `  snapshot save /backup/holdfast.db --endpoints=10.0.0.1:2379
  snapshot save /backup/holdfast-$(date +%Y%m%d-%H%M%S).db --user=root:secret`,
	}
	cmd.AddCommand(f.snapshotSaveCommand())
	return cmd
}

func (f *family) snapshotSaveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "save <filename>",
		Short: "Save what one member holds as a file in etcd's format",
		Long: `Save what one member holds as a file in etcd's format, which etcd's tools check and restore as well.

The file gets its name when it is whole, checked and on the disk; until then it has ".part" at its end. It may take as
long as it needs, unless --command-timeout is given.`,
		RunE: action(func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return badArguments("snapshot save expects one argument <filename>")
			}
			c, err := f.connector(cmd)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			if cmd.Flags().Changed("command-timeout") {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, c.timeout)
				defer cancel()
			}
			version, err := c.saveSnapshot(ctx, cmd.ErrOrStderr(), args[0])
			if err != nil {
				return &failure{code: exitInterrupted, err: err, hint: c.hint(err, c.spec.Endpoints, c.timeout)}
			}
			s := &sink{w: cmd.OutOrStdout()}
			s.printf("Snapshot saved at %s\n", args[0])
			if version != "" {
				s.printf("Server version %s\n", version)
			}
			return s.err
		}),
	}
}

// saveSnapshot writes the snapshot of the one endpoint into the file path and returns the version in it. If it fails,
// there is no new file and what was there before is as it was.
func (c *connector) saveSnapshot(ctx context.Context, stderr io.Writer, path string) (version string, err error) {
	if len(c.spec.Endpoints) != 1 {
		return "", fmt.Errorf("snapshot must be requested to one selected node, not multiple %v", c.spec.Endpoints)
	}
	client, err := c.open(c.spec.Endpoints...)
	if err != nil {
		return "", err
	}
	defer client.Close()
	part := path + ".part"
	file, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return "", fmt.Errorf("could not open %s (%w)", part, err)
	}
	defer func() {
		if err != nil {
			_ = file.Close()
			_ = os.Remove(part)
		}
	}()
	progress := NewProgress(stderr)
	defer progress.End()
	version, err = receiveSnapshot(ctx, client, file, progress)
	if err != nil {
		return "", err
	}
	if err := file.Sync(); err != nil {
		return "", fmt.Errorf("could not fsync snapshot: %w", err)
	}
	if err := file.Close(); err != nil {
		return "", fmt.Errorf("could not close file descriptor: %w", err)
	}
	if err := os.Rename(part, path); err != nil {
		return "", fmt.Errorf("could not rename %s to %s (%w)", part, path, err)
	}
	return version, syncDirectory(filepath.Dir(path))
}

// receiveSnapshot copies the stream into w and checks that it ends in the checksum of what came before.
func receiveSnapshot(ctx context.Context, client *clientv3.Client, w io.Writer, progress *Progress) (version string, err error) {
	stream, err := pb.NewMaintenanceClient(client.ActiveConnection()).Snapshot(ctx, &pb.SnapshotRequest{}, grpc.WaitForReady(true))
	if err != nil {
		return "", clientv3.ContextError(ctx, err)
	}
	check := &trailer{sum: sha256.New()}
	progress.Tell("waiting for the member to make the snapshot")
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", clientv3.ContextError(ctx, errors.New(status.Convert(err).Message()))
		}
		version = response.GetVersion()
		check.add(response.GetBlob())
		if _, err := w.Write(response.GetBlob()); err != nil {
			return "", fmt.Errorf("could not write snapshot: %w", err)
		}
		total := check.size + int64(response.GetRemainingBytes())
		progress.Tell("%s of %s", sizeText(check.size), sizeText(total))
	}
	return version, check.verify()
}

// trailer checks bytes whose last 32 are the SHA-256 of all before them.
type trailer struct {
	sum  hash.Hash
	last []byte // at most 32 bytes, which are not in sum
	size int64  // of everything
}

func (t *trailer) add(b []byte) {
	t.size += int64(len(b))
	t.last = append(t.last, b...)
	if surplus := len(t.last) - sha256.Size; surplus > 0 {
		t.sum.Write(t.last[:surplus]) // never fails
		t.last = append(t.last[:0], t.last[surplus:]...)
	}
}

// snapshotSector is what the size of the database file is a multiple of; that of a snapshot is 32 bytes more.
const snapshotSector = 512

func (t *trailer) verify() error {
	if t.size%snapshotSector != sha256.Size {
		return fmt.Errorf("sha256 checksum not found [bytes: %d]", t.size)
	}
	if got := t.sum.Sum(nil); string(got) != string(t.last) {
		return fmt.Errorf("the snapshot arrived damaged: its SHA-256 is %x, but should be %x; save it again", got, t.last)
	}
	return nil
}

// syncDirectory makes the new name of a file in dir last.
func syncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
