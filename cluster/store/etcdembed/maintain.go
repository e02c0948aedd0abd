package etcdembed

import (
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	maintainInterval = time.Minute
	// keepRevisions of history are left by a compaction, which happens when there are twice as many.
	keepRevisions = 5000
	// defragBytes is how much of the database file has to be free, and more than half of it, before it is rewritten. That
	// holds up writes for some 10 ms per MiB that is left.
	defragBytes = 32 << 20
	// calm is the shortest time between two rounds: a full database asks for one with each write that it refuses.
	calm = time.Second
)

// maintainNow asks for maintenance without waiting for it.
func (s *Server) maintainNow() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// maintain keeps the database small until the server is done.
func (s *Server) maintain() {
	tick := time.NewTicker(maintainInterval)
	defer tick.Stop()
	for {
		if err := s.tidy(); err != nil && s.ctx.Err() == nil {
			s.config.Log.Warn("etcd: maintenance failed", "error", err)
		}
		if !s.wait(time.After(calm), nil) || !s.wait(tick.C, s.kick) {
			return
		}
	}
}

// wait tells whether one of the channels fired before the server's end.
func (s *Server) wait(a <-chan time.Time, b <-chan struct{}) bool {
	select {
	case <-a:
		return true
	case <-b:
		return true
	case <-s.ctx.Done():
		return false
	}
}

func (s *Server) tidy() error {
	alarms, err := s.client.AlarmList(s.ctx)
	if err != nil {
		return fmt.Errorf("list alarms: %w", err)
	}
	full := false
	for _, a := range alarms.Alarms {
		full = full || a.Alarm == etcdserverpb.AlarmType_NOSPACE
	}
	kv, backend := s.etcd.Server.KV(), s.etcd.Server.Backend()
	revision, first := kv.Rev(), kv.FirstRev()
	switch {
	case full && revision > first:
		err = s.compact(revision)
	case revision-first > 2*keepRevisions:
		err = s.compact(revision - keepRevisions)
	}
	if err != nil {
		return err
	}
	free := backend.Size() - backend.SizeInUse()
	if full || free > defragBytes && free > backend.Size()/2 {
		if err := checkSpace(s.config.Dir, s.config.ReserveBytes+uint64(backend.SizeInUse())); err != nil {
			return err
		}
		start := time.Now()
		if err := backend.Defrag(); err != nil {
			return fmt.Errorf("defragment: %w", err)
		}
		s.config.Log.Info("etcd: database was rewritten", "bytes", backend.Size(), "freed", free, "took", time.Since(start))
	}
	if full && backend.Size() < s.config.QuotaBytes {
		return s.disarm(alarms.Alarms)
	}
	return nil
}

func (s *Server) compact(revision int64) error {
	if _, err := s.client.Compact(s.ctx, revision, clientv3.WithCompactPhysical()); err != nil {
		return fmt.Errorf("compact: %w", err)
	}
	return nil
}

func (s *Server) disarm(alarms []*etcdserverpb.AlarmMember) error {
	for _, a := range alarms {
		if _, err := s.client.AlarmDisarm(s.ctx, (*clientv3.AlarmMember)(a)); err != nil {
			return fmt.Errorf("disarm the alarm: %w", err)
		}
	}
	s.config.Log.Info("etcd: database is below its quota again, writes are accepted")
	return nil
}
