package main

import (
	"fmt"
	"os"
	"slices"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc/grpclog"
	"gopkg.in/natefinch/lumberjack.v2"

	"holdfast/internal/config"
)

// newLogger makes the log as the settings say: JSON objects with level, ts, caller and msg, or lines for people.
func newLogger(c *config.Config, console bool) (*zap.Logger, error) {
	level, err := zapcore.ParseLevel(c.LogLevel)
	if err != nil {
		return nil, fmt.Errorf("--log-level: %w", err)
	}
	e := zap.NewProductionEncoderConfig()
	e.TimeKey = "ts"
	e.EncodeTime = func(t time.Time, e zapcore.PrimitiveArrayEncoder) {
		e.AppendString(t.Format("2006-01-02T15:04:05.999999Z0700"))
	}
	e.EncodeDuration = zapcore.StringDurationEncoder
	encoder := zapcore.NewJSONEncoder
	if console {
		encoder = zapcore.NewConsoleEncoder
		e.EncodeLevel = zapcore.CapitalLevelEncoder
	}
	sink, err := logSink(c)
	if err != nil {
		return nil, err
	}
	return zap.New(zapcore.NewCore(encoder(e), sink, level), zap.AddCaller(), zap.ErrorOutput(zapcore.Lock(os.Stderr))), nil
}

// logSink opens --log-outputs. The file that is to be rotated is written through what does that; nobody else may read it.
func logSink(c *config.Config) (zapcore.WriteSyncer, error) {
	rotated := ""
	var how config.Rotation
	if c.EnableLogRotation {
		rotated, how = c.Rotation()
	}
	var sinks []zapcore.WriteSyncer
	if rest := slices.DeleteFunc(slices.Clone(c.LogOutputs), func(o string) bool { return o == rotated }); len(rest) > 0 {
		sink, _, err := zap.Open(rest...)
		if err != nil {
			return nil, fmt.Errorf("--log-outputs: %w", err)
		}
		sinks = append(sinks, sink)
	}
	if rotated != "" {
		sinks = append(sinks, zapcore.AddSync(&lumberjack.Logger{Filename: rotated, MaxSize: how.MaxSize, MaxAge: how.MaxAge,
			MaxBackups: how.MaxBackups, LocalTime: how.LocalTime, Compress: how.Compress}))
	}
	return zapcore.NewMultiWriteSyncer(sinks...), nil
}

// grpcLogger writes what the gRPC library says into our log, as debugging: what matters of it is said by who uses it, and
// its own form would break lines that are to be JSON.
type grpcLogger struct{ *zap.SugaredLogger }

var _ grpclog.LoggerV2 = (*grpcLogger)(nil)

func (l *grpcLogger) Info(args ...any)                    { l.Debug(args...) }
func (l *grpcLogger) Infoln(args ...any)                  { l.Debugln(args...) }
func (l *grpcLogger) Infof(format string, args ...any)    { l.Debugf(format, args...) }
func (l *grpcLogger) Warning(args ...any)                 { l.Debug(args...) }
func (l *grpcLogger) Warningln(args ...any)               { l.Debugln(args...) }
func (l *grpcLogger) Warningf(format string, args ...any) { l.Debugf(format, args...) }
func (l *grpcLogger) Error(args ...any)                   { l.Debug(args...) }
func (l *grpcLogger) Errorln(args ...any)                 { l.Debugln(args...) }
func (l *grpcLogger) Errorf(format string, args ...any)   { l.Debugf(format, args...) }

// V reports whether the library should go into such detail: its details are never asked for.
func (l *grpcLogger) V(level int) bool { return level <= 0 }
