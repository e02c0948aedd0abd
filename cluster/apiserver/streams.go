package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/controller"
	"github.com/ciaocloud/ciao/cluster/stream"
)

type readLogs struct {
	ForTenant
	Named
	Tail   int  `query:"tail" default:"-1" minimum:"-1" maximum:"1000000000" doc:"only the last so many lines; -1 is all"`
	Follow bool `query:"follow" doc:"go on with what is printed until the instance ends"`
}

func (s *Server) registerStreams(a huma.API) {
	logs := streaming("read-logs", "/instances/{ref}/logs", "Read what an instance printed, as plain text; an answer that is cut off ended early")
	logs.Responses = map[string]*huma.Response{"200": {Description: "OK", Content: map[string]*huma.MediaType{logType: {}}}}
	huma.Register(a, logs, s.logs)
	exec := streaming("exec", "/instances/{ref}/exec", "Execute a command in an active instance, over a WebSocket")
	exec.Description = streamDescription
	exec.DefaultStatus = http.StatusSwitchingProtocols
	huma.Register(a, exec, s.exec)
	console := streaming("join-console", "/instances/{ref}/console", "Join the serial console of an active virtual machine, over a WebSocket")
	console.Description = "What is typed is input, what the machine prints is output; the end of the input does not end the stream, and that of the machine does. " +
		"One caller at a time has a console. " + streamDescription
	console.DefaultStatus = http.StatusSwitchingProtocols
	huma.Register(a, console, s.console)
}

// streaming declares an operation that reaches into an instance.
func streaming(id, path, summary string) huma.Operation {
	op := operation(id, http.MethodGet, path, summary, "instances")
	op.Errors = []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusServiceUnavailable, http.StatusGatewayTimeout}
	return op
}

// logType is that of a log: what a program prints need not be text in UTF-8.
const logType = "text/plain"

func (s *Server) logs(ctx context.Context, in *readLogs) (*huma.StreamResponse, error) {
	scope, err := s.scope(ctx, in.Tenant)
	if err != nil {
		return nil, s.translate(ctx, err)
	}
	node, err := s.config.UseCases.OpenLogs(ctx, scope, in.Ref, controller.LogsRequest{Lines: in.Tail, Follow: in.Follow})
	if err != nil {
		return nil, s.translate(ctx, err)
	}
	s.logger.Info("log read", "caller", callerOf(ctx).name, "instance", in.Ref, "tenant", in.Tenant)
	return &huma.StreamResponse{Body: func(answer huma.Context) {
		_, w := humago.Unwrap(answer)
		s.printLogs(answer.Context(), w, node)
	}}, nil
}

// printLogs answers with what the node sends. An error after the first of it can only be told by breaking off.
func (s *Server) printLogs(ctx context.Context, w http.ResponseWriter, node stream.Conn) {
	log := &logWriter{ResponseController: http.NewResponseController(w), w: w}
	_ = log.SetReadDeadline(time.Time{}) // that of the request's body ends a request over HTTP/1.1; over HTTP/2 there is none
	_, err := stream.Attend(ctx, node, stream.Terminal{Output: log, Errors: log})
	switch {
	case err == nil:
		log.begin()
	case !log.begun:
		problem := &api.Problem{}
		if errors.As(s.translate(ctx, err), &problem) {
			writeProblem(w, problem)
		}
	default:
		s.logger.Debug("log broken off", "caller", callerOf(ctx).name, "error", err)
		panic(http.ErrAbortHandler)
	}
}

// logWriter writes an answer's header before the first of its body.
type logWriter struct {
	*http.ResponseController
	w     http.ResponseWriter
	begun bool
}

func (l *logWriter) begin() {
	if !l.begun {
		l.begun = true
		l.w.Header().Set("Content-Type", logType)
		l.w.WriteHeader(http.StatusOK)
	}
}

func (l *logWriter) Write(data []byte) (int, error) {
	l.begin()
	n, err := l.w.Write(data)
	return n, errors.Join(err, l.Flush())
}

// streamDescription is the protocol of package stream, for peers in other languages.
const streamDescription = "The request asks for a WebSocket (RFC 6455) with the subprotocol ciao-stream-1, over HTTP/1.1. " +
	"Messages are binary: one byte for the channel, then at most 32 KiB of data. From the caller: 0 input (without data: its end), " +
	"3 the terminal's width and height (two bytes each, big-endian). To the caller: 1 output, 2 error output, " +
	"4 that many bytes of input were taken (four bytes, big-endian), 5 the end, as JSON: exit_code, or class and detail of an error. " +
	"At most 128 KiB of input may be sent that were not taken."

type execute struct {
	ForTenant
	Named
	Command []string `query:"command,explode" doc:"the program and its arguments, one parameter for each"`
	Input   bool     `query:"input" doc:"there may be input; without, the command finds it at its end"`
	TTY     bool     `query:"tty" doc:"on a terminal, whose output is all output"`
	Width   int      `query:"width" minimum:"0" maximum:"65535" doc:"of the terminal, in characters; 0 is not known"`
	Height  int      `query:"height" minimum:"0" maximum:"65535"`
	Upgrade string   `header:"Upgrade" doc:"websocket"`
}

// exec joins the user with the node once the node is there: whatever is wrong before is an answer like any other.
func (s *Server) exec(ctx context.Context, in *execute) (*huma.StreamResponse, error) {
	scope, err := s.scope(ctx, in.Tenant)
	if err == nil {
		err = wantsSocket(in.Upgrade, "a command is executed", "exec")
	}
	if err != nil {
		return nil, s.translate(ctx, err)
	}
	node, err := s.config.UseCases.OpenExec(ctx, scope, in.Ref, controller.ExecRequest{
		Command: in.Command, Input: in.Input, TTY: in.TTY, Size: cluster.TerminalSize{Width: in.Width, Height: in.Height},
	})
	if err != nil {
		return nil, s.translate(ctx, err)
	}
	s.logger.Info("command executed", "caller", callerOf(ctx).name, "instance", in.Ref, "tenant", in.Tenant) // not its words: they may hold secrets
	return s.joined(ctx, node), nil
}

type useConsole struct {
	ForTenant
	Named
	Takeover bool   `query:"takeover" doc:"end who has the console, instead of being refused"`
	Upgrade  string `header:"Upgrade" doc:"websocket"`
}

func (s *Server) console(ctx context.Context, in *useConsole) (*huma.StreamResponse, error) {
	scope, err := s.scope(ctx, in.Tenant)
	if err == nil {
		err = wantsSocket(in.Upgrade, "a console is joined", "console")
	}
	if err != nil {
		return nil, s.translate(ctx, err)
	}
	node, err := s.config.UseCases.OpenConsole(ctx, scope, in.Ref, in.Takeover)
	if err != nil {
		return nil, s.translate(ctx, err)
	}
	s.logger.Info("console joined", "caller", callerOf(ctx).name, "instance", in.Ref, "tenant", in.Tenant)
	return s.joined(ctx, node), nil
}

func wantsSocket(upgrade, what, command string) error {
	if strings.EqualFold(upgrade, "websocket") {
		return nil
	}
	return fmt.Errorf("%w: %s over a WebSocket: ask for one over HTTP/1.1, or use `ciao %s`", cluster.ErrInvalid, what, command)
}

// joined answers by joining the caller's connection, which is yet to be made, with the node's.
func (s *Server) joined(ctx context.Context, node stream.Conn) *huma.StreamResponse {
	caller := callerOf(ctx).name
	return &huma.StreamResponse{Body: func(answer huma.Context) {
		r, w := humago.Unwrap(answer)
		done, err := s.carried.begin()
		if err != nil {
			node.Close()
			s.refuse(w, r, err)
			return
		}
		defer done()
		user, err := stream.Accept(w, r)
		if err != nil {
			node.Close()
			return
		}
		if err := stream.Join(answer.Context(), user, node); err != nil {
			s.logger.Debug("stream broken off", "caller", caller, "error", err)
		}
	}}
}

// joinStream lets a node join a stream that was opened for it. It is no use case of a user, so it has its own judgement of callers.
func (s *Server) joinStream(w http.ResponseWriter, r *http.Request) {
	done, err := s.carried.begin()
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	defer done()
	node, proof, err := s.identifyNode(r.TLS)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	ctx, over := s.running.begin(r.Context(), proof)
	defer over()
	accepted := false
	err = s.config.UseCases.JoinStream(ctx, node, r.PathValue("id"), stream.SecretOf(r), func() (stream.Conn, error) {
		accepted = true // it has been answered, well or badly
		return stream.Accept(w, r)
	})
	if err != nil && !accepted {
		s.logger.Info("node refused", "node", node, "why", err)
		writeProblem(w, api.ProblemOf(err))
	}
}
