package apiserver

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/ciaocloud/ciao/cluster"
)

func TestNoStreamBeginsWhileTheServerStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c carried
		done, err := c.begin()
		if err != nil {
			t.Fatal(err)
		}
		ended := false
		go func() { c.wait(); ended = true }()
		synctest.Wait()
		if _, err := c.begin(); !errors.Is(err, cluster.ErrUnavailable) || ended {
			t.Errorf("a stream began (%v), or the one before was not waited for (%t)", err, ended)
		}
		done()
		synctest.Wait()
		if !ended {
			t.Error("the end of the last stream is waited for still")
		}
	})
}
