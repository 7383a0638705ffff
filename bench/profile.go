package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
)

// profileSeconds is how much of a load a profile covers, from its beginning.
const profileSeconds = 5

// profiled takes a processor profile of each of a system's members from now on, if they are wanted: the first leads. The function that it
// returns waits for them.
func (t *trial) profiled(ctx context.Context, members []*server) func() error {
	if t.profile == "" || t.system.name != "holdfast" {
		return func() error { return nil }
	}
	errs := make([]error, len(members))
	var wait sync.WaitGroup
	for i, v := range members {
		name := fmt.Sprintf("%s-follower-%d.pprof", t.row, i)
		if i == 0 {
			name = t.row + "-leader.pprof"
		}
		wait.Go(func() { errs[i] = v.saveProfile(ctx, filepath.Join(t.profile, name)) })
	}
	return func() error {
		wait.Wait()
		for _, err := range errs {
			if err != nil {
				return fmt.Errorf("take a profile: %w", err)
			}
		}
		return nil
	}
}

func (v *server) saveProfile(ctx context.Context, path string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", v.client, profileSeconds), nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", answer.Status, content)
	}
	if err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o600)
}
