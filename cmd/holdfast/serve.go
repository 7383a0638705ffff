package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/mattn/go-isatty"
	"go.uber.org/zap"
	"google.golang.org/grpc/grpclog"

	"holdfast"
	"holdfast/internal/config"
	"holdfast/internal/server"
)

// The codes that serve exits with.
const (
	exitOK      = 0
	exitFailed  = 1 // the member could not start, or stopped by itself
	exitRefused = 2 // the settings are wrong; nothing was touched
)

// removedSentence is what is said of a member that the cluster has removed.
const removedSentence = "the cluster has removed this member, so it ends; its data directory is of no more use, and may be kept or deleted. " +
	"To bring this machine back, have it added anew (holdfast member add) and start it with an empty data directory and --initial-cluster-state=existing"

// serve runs a member until a signal ends it or it fails.
func serve(program string, args []string) int {
	c, warnings, err := config.Parse(program, args, os.Environ(), os.ReadFile)
	switch {
	case errors.Is(err, config.ErrHelp):
		config.Help(os.Stdout, program)
		return exitOK
	case err != nil:
		fmt.Fprintf(os.Stderr, "%s: %v\n", program, err)
		return exitRefused
	case c.Version:
		printVersion(program)
		return exitOK
	}
	console := c.Console(isatty.IsTerminal(os.Stderr.Fd()))
	logger, err := newLogger(&c, console)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", program, err)
		return exitRefused
	}
	defer func() { _ = logger.Sync() }()
	grpclog.SetLoggerV2(&grpcLogger{logger.Named("grpc").WithOptions(zap.AddCallerSkip(1)).Sugar()})
	for _, w := range warnings {
		logger.Warn(string(w))
	}
	if c.MemoryMlock {
		if err := lockMemory(); err != nil {
			fail(logger, console, "could not start: --memory-mlock: "+err.Error())
			return exitFailed
		}
	}
	syscall.Umask(0o077) // what a member writes is nobody else's, in its directory and outside
	// Signals are taken from here on: one during the start ends the start.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	m, err := holdfast.Start(ctx, c, holdfast.Options{Logger: logger})
	if err != nil {
		if ctx.Err() != nil {
			logger.Info("stopped by a signal before it served")
			return exitOK
		}
		if errors.Is(err, holdfast.ErrRemoved) {
			fail(logger, console, removedSentence)
			return exitOK
		}
		fail(logger, console, "could not start: "+err.Error())
		return exitFailed
	}
	greet(logger, console, m)
	select {
	case <-ctx.Done():
		stop() // a second signal ends the process at once
		logger.Info("stopping, as a signal asked for")
	case <-m.Done():
	}
	started := time.Now()
	err = m.Close()
	if errors.Is(m.Err(), holdfast.ErrRemoved) {
		tell(logger.Warn, console, removedSentence)
		return exitOK // as etcd: whoever watches over it must not start it again
	}
	if err != nil && m.Err() == nil {
		// Asked to end, and nothing is lost: the log holds all that was acknowledged.
		logger.Warn(err.Error())
		return exitOK
	}
	if err != nil {
		fail(logger, console, "the member stopped: "+err.Error())
		return exitFailed
	}
	logger.Info("stopped", zap.Duration("took", time.Since(started)))
	return exitOK
}

// greet says where everything is and how to talk to it.
func greet(logger *zap.Logger, console bool, m *holdfast.Member) {
	endpoints := strings.Join(m.ClientEndpoints(), ",")
	trust := ""
	if file := m.TrustFile(); file != "" {
		trust = " --cacert=" + file
	}
	lines := append(m.Describe(),
		fmt.Sprintf("Serving clients at %s.", endpoints),
		fmt.Sprintf("Try: holdfast --help, or: holdfast put --endpoints=%s%s greeting hello", endpoints, trust))
	if console {
		for _, line := range lines {
			fmt.Fprintln(os.Stderr, line)
		}
		return
	}
	logger.Info("ready to serve client requests", zap.Strings("endpoints", m.ClientEndpoints()), zap.Strings("about", lines))
}

// fail says why the process ends: in a plain sentence to a person, as a line of the log to a machine.
func fail(logger *zap.Logger, console bool, sentence string) { tell(logger.Error, console, sentence) }

func tell(log func(string, ...zap.Field), console bool, sentence string) {
	if console {
		fmt.Fprintln(os.Stderr, "holdfast: "+sentence)
		return
	}
	log(sentence)
}

// printVersion prints what --version prints. Tools look for etcd's first line.
func printVersion(program string) {
	if program == "etcd" {
		fmt.Printf("etcd Version: %s\n", server.EtcdVersion)
	}
	fmt.Printf("Holdfast Version: %s\n", server.Version)
	if program != "etcd" {
		fmt.Printf("etcd Version: %s\n", server.EtcdVersion)
	}
	fmt.Printf("Go Version: %s\n", runtime.Version())
	fmt.Printf("Go OS/Arch: %s/%s\n", runtime.GOOS, runtime.GOARCH)
}
