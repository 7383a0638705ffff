package config

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// Rotation says when a log file is large or old.
type Rotation struct {
	MaxSize    int  `json:"maxsize"`    // in MB; 0 means 100
	MaxAge     int  `json:"maxage"`     // in days that an old file is kept; 0 means for ever
	MaxBackups int  `json:"maxbackups"` // of old files that are kept; 0 means all
	LocalTime  bool `json:"localtime"`  // old files are named by local time, not UTC
	Compress   bool `json:"compress"`   // old files are packed by gzip
}

// Rotation returns the file whose rotation is asked for, one of LogOutputs, and how. It is empty if none is.
func (c *Config) Rotation() (file string, how Rotation) {
	if !c.EnableLogRotation {
		return "", Rotation{}
	}
	how, _ = decodeRotation(c.LogRotationConfigJSON)
	return c.logFiles()[0], how
}

// logFiles are those of LogOutputs that are files.
func (c *Config) logFiles() (files []string) {
	for _, output := range c.LogOutputs {
		if output != "stderr" && output != "stdout" && output != "default" {
			files = append(files, output)
		}
	}
	return files
}

func decodeRotation(text string) (r Rotation, complaint string) {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&r)
	if err == nil {
		if _, more := decoder.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows it")
		}
	}
	switch {
	case err != nil:
		return r, `must be a JSON object such as {"maxsize": 100, "maxage": 7, "maxbackups": 5, "localtime": false, "compress": true}`
	case r.MaxSize < 0 || r.MaxAge < 0 || r.MaxBackups < 0:
		return r, "no number in it may be negative"
	}
	return r, ""
}

func rotationKnown(c *Config) string {
	_, complaint := decodeRotation(c.LogRotationConfigJSON)
	return complaint
}

func (c *Config) checkRotation() error {
	if c.EnableLogRotation && len(c.logFiles()) != 1 {
		return valueError("--enable-log-rotation is on, but --log-outputs is %s: it must have exactly one file", strings.Join(c.LogOutputs, ","))
	}
	return nil
}
