package etcdembed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// logger hands etcd's warnings and errors to slog. Where etcd would end the process, the server fails instead, and only the
// goroutine ends.
func (s *Server) logger() *zap.Logger {
	hook := stopper{s}
	return zap.New(slogCore{s.config.Log}, zap.WithFatalHook(hook), zap.WithPanicHook(hook))
}

// stopper is called after a fatal message was written.
type stopper struct{ server *Server }

func (h stopper) OnWrite(e *zapcore.CheckedEntry, fields []zapcore.Field) {
	err := errors.New(e.Message)
	for _, f := range fields {
		if cause, ok := f.Interface.(error); ok && f.Type == zapcore.ErrorType {
			err = fmt.Errorf("%s: %w", e.Message, cause)
		}
	}
	h.server.fail(err)
	runtime.Goexit()
}

// slogCore is the part of zap that writes.
type slogCore struct{ log *slog.Logger }

// routine are messages that say nothing about a server without listeners and peers: the first is advice for clusters, the next two
// come from a version check that runs before the first transaction and is repeated, the last from a normal end.
var routine = map[string]bool{
	"Running http and grpc server on single port. This is not recommended for production.": true,
	"Failed to detect schema version":       true,
	"failed to update storage version":      true,
	"server has stopped; skipping GoAttach": true,
}

func (c slogCore) Enabled(l zapcore.Level) bool { return l >= zapcore.WarnLevel }

func (c slogCore) With(fields []zapcore.Field) zapcore.Core {
	return slogCore{c.log.With(attributes(fields)...)}
}

func (c slogCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !c.Enabled(e.Level) || routine[e.Message] {
		return ce
	}
	return ce.AddCore(e, c)
}

func (c slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	level := slog.LevelWarn
	if e.Level > zapcore.WarnLevel {
		level = slog.LevelError
	}
	c.log.Log(context.Background(), level, "etcd: "+e.Message, attributes(fields)...)
	return nil
}

func (slogCore) Sync() error { return nil }

func attributes(fields []zapcore.Field) []any {
	values := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(values)
	}
	all := make([]any, 0, len(fields))
	for _, f := range fields {
		if v, ok := values.Fields[f.Key]; ok {
			all = append(all, slog.Any(f.Key, v))
		}
	}
	return all
}
