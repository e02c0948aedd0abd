package bat

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestRunTellsHowAProgramEnded(t *testing.T) {
	said, err := run(t.Context(), []string{"WORD=hello"}, "/bin/sh", "-c", "echo $WORD; echo no >&2; exit 3")
	if want := (Said{"hello\n", "no\n", 3}); err != nil || said != want {
		t.Errorf("said %+v (%v), want %+v", said, err, want)
	}
	if _, err := run(t.Context(), nil, "/no/such/program"); err == nil {
		t.Errorf("a program that is not there was run")
	}
	cause := errors.New("enough")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, cause)
	defer cancel()
	if _, err := run(ctx, nil, "/bin/sleep", "3600"); !errors.Is(err, cause) {
		t.Errorf("an interrupted program: %v, want the cause", err)
	}
}

func TestWithoutCiao(t *testing.T) {
	if got := WithoutCiao([]string{"A=1", "CIAO_CONTROLLER=x", "B=CIAO_"}); !slices.Equal(got, []string{"A=1", "B=CIAO_"}) {
		t.Errorf("kept %v", got)
	}
}

func TestRefusesJudges(t *testing.T) {
	for _, test := range []struct {
		name string
		said Said
		want string
	}{
		{"as it should be", Said{"", "ciao: instance \"x\": not found\n", 3}, ""},
		{"another code", Said{"", "ciao: x\n", 1}, "exit code 1, expected 3"},
		{"results on standard output", Said{"x", "ciao: x\n", 3}, "standard output must stay empty"},
		{"two lines", Said{"", "ciao: x\nusage\n", 3}, "must be one sentence"},
		{"silence", Said{"", "", 3}, "must be one sentence"},
		{"other words", Said{"", "ciao: y\n", 3}, "does not say"},
	} {
		t.Run(test.name, func(t *testing.T) {
			judged := newT(nil, "")
			test.said.Refuses(judged, "a command", 3, "x")
			if outcome := judged.finish(); (outcome.Reason == "") != (test.want == "") || !strings.Contains(outcome.Reason, test.want) {
				t.Errorf("judged %q, want %q", outcome.Reason, test.want)
			}
		})
	}
}
