package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

// server is the supervisor's process.
type server struct {
	config  Config
	log     *slog.Logger
	program string // identity of what this process runs

	mu      sync.Mutex
	keepers map[string]*keeper
	order   []string
	running sync.WaitGroup
}

// Serve is the supervisor's process: it takes over the daemons of the list that it finds, answers on its socket, and returns when it
// is told to end or ctx ends. Told to end, it ends the daemons first; when only ctx ends, they run on.
func Serve(ctx context.Context, config Config, log *slog.Logger) error {
	program, err := programIdentity(runningProgram)
	if err != nil {
		return err
	}
	lock, err := config.lock(ctx)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := os.Remove(config.socket()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the socket of the supervisor before: %w", err)
	}
	listener, err := net.Listen("unix", config.socket())
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	ctx, end := context.WithCancel(ctx)
	defer end()
	stop := context.AfterFunc(ctx, func() { listener.Close() })
	defer stop()
	s := &server{config: config, log: log, program: program, keepers: make(map[string]*keeper)}
	var daemons []Daemon
	if err := readJSON(config.listFile(), &daemons); err == nil {
		s.apply(ctx, daemons)
	}
	for {
		connection, err := listener.Accept()
		if err != nil {
			s.running.Wait()
			return nil // only closing the listener makes Accept fail
		}
		if s.answer(ctx, connection) {
			end()
		}
	}
}

// answer serves one request and says whether it was the last.
func (s *server) answer(ctx context.Context, connection net.Conn) (last bool) {
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(callTimeout)) // a unix socket has deadlines
	var in request
	if err := json.NewDecoder(connection).Decode(&in); err != nil {
		return false
	}
	var out answer
	switch {
	case in.End:
		s.apply(ctx, nil)
	case in.Apply != nil:
		if err := writeJSON(s.config.listFile(), in.Apply); err != nil {
			out.Problem = err.Error()
			break
		}
		s.apply(ctx, in.Apply)
	}
	out.Status, out.Program = s.status(), s.program
	if err := json.NewEncoder(connection).Encode(out); err != nil {
		s.log.Warn("a caller did not take its answer", "error", err)
	}
	return in.End || in.Leave
}

// apply ends what is not wanted or changed, in reverse order, then starts what is missing.
func (s *server) apply(ctx context.Context, daemons []Daemon) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ending sync.WaitGroup
	for _, name := range s.order {
		if wanted, found := find(daemons, name); found && same(wanted, s.keepers[name].daemon) {
			continue
		}
		k := s.keepers[name]
		delete(s.keepers, name)
		ending.Go(k.end)
	}
	ending.Wait()
	s.order = s.order[:0]
	for _, d := range daemons {
		s.order = append(s.order, d.Name)
		if s.keepers[d.Name] == nil {
			k := newKeeper(s.config, d, s.log.With("daemon", d.Name))
			s.keepers[d.Name] = k
			s.running.Go(func() { k.run(ctx) })
			<-k.started
		}
	}
}

func (s *server) status() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	status := make([]Status, len(s.order))
	for i, name := range s.order {
		status[i] = s.keepers[name].status()
	}
	return status
}
