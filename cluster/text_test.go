package cluster

import (
	"encoding/json"
	"errors"
	"testing"
	"time"
)

func TestCPUText(t *testing.T) {
	tests := []struct {
		text  string
		want  CPU
		shown string // empty: it is refused
	}{
		{"1", 1000, "1"},
		{"0.25", 250, "0.25"},
		{"0.001", 1, "0.001"},
		{"2.50", 2500, "2.5"},
		{"4096", 4096000, "4096"},
		{"0", 0, "0"},
		{"40960001.5", 40_960_001_500, "40960001.5"},
		{"999999999.999", 999_999_999_999, "999999999.999"},
		{"1000000001", 0, ""},
		{"1e300", 0, ""},
		{"0.0001", 0, ""},
		{"-1", 0, ""},
		{"NaN", 0, ""},
		{"Inf", 0, ""},
		{"two", 0, ""},
		{"", 0, ""},
	}
	for _, test := range tests {
		t.Run(test.text, func(t *testing.T) {
			var got CPU
			err := got.UnmarshalText([]byte(test.text))
			if (err == nil) != (test.shown != "") || got != test.want {
				t.Fatalf("got %d, %v; want %d", got, err, test.want)
			}
			if err == nil && got.String() != test.shown {
				t.Errorf("shown as %s, want %s", got, test.shown)
			}
		})
	}
}

func TestQuotaOfAnOlderProgram(t *testing.T) {
	var got Quota
	if err := json.Unmarshal([]byte(`{"instances":"3","vcpus":"unlimited"}`), &got); err != nil {
		t.Fatal(err)
	}
	want := NoQuota()
	want.Instances = 3
	if got != want {
		t.Errorf("got %v, want %v: what is not said bounds nothing", got, want)
	}
}

func TestLimitText(t *testing.T) {
	tests := []struct {
		text string
		want Limit
		ok   bool
	}{
		{"unlimited", Unlimited, true},
		{"0", 0, true},
		{"12", 12, true},
		{"-1", 0, false},
		{"1.5", 0, false},
		{"many", 0, false},
	}
	for _, test := range tests {
		t.Run(test.text, func(t *testing.T) {
			var got Limit
			err := got.UnmarshalText([]byte(test.text))
			if (err == nil) != test.ok || got != test.want {
				t.Fatalf("got %d, %v; want %d", got, err, test.want)
			}
			if back, _ := got.MarshalText(); test.ok && string(back) != test.text {
				t.Errorf("written as %s", back)
			}
		})
	}
	if !Unlimited.Allows(1<<62) || !Limit(3).Allows(3) || Limit(3).Allows(4) || Limit(0).Allows(1) {
		t.Error("limits allow the wrong amounts")
	}
}

func TestDurationText(t *testing.T) {
	tests := []struct {
		text string
		want time.Duration
		ok   bool
	}{
		{"10s", 10 * time.Second, true},
		{"1m30s", 90 * time.Second, true},
		{"10", 0, false},
		{"soon", 0, false},
	}
	for _, test := range tests {
		var got Duration
		if err := got.UnmarshalText([]byte(test.text)); (err == nil) != test.ok || time.Duration(got) != test.want {
			t.Errorf("%s: got %s, %v", test.text, got, err)
		}
		var quoted Duration
		if err := quoted.UnmarshalYAML([]byte(` "` + test.text + `" `)); (err == nil) != test.ok || quoted != got {
			t.Errorf("%s in YAML: got %s, %v", test.text, quoted, err)
		}
	}
}

// What is stored is read back the same.
func TestJSONRoundTrip(t *testing.T) {
	code := 3
	before := Instance{
		ID: "i", Name: "web", Spec: WorkloadSpec{Kind: KindContainer, Image: "busybox", Requirements: Requirements{VCPUs: 250}}.WithDefaults(),
		Generation: 1 << 60, ExitCode: &code, Addresses: nil, Created: time.Date(2030, 1, 2, 3, 4, 5, 6, time.UTC),
	}
	text, err := json.Marshal(before)
	if err != nil {
		t.Fatal(err)
	}
	var after Instance
	if err := json.Unmarshal(text, &after); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(after)
	if err != nil || string(again) != string(text) {
		t.Errorf("%v\n%s\n%s", err, text, again)
	}
}

func TestProblems(t *testing.T) {
	var problems Problems
	if problems.Err() != nil {
		t.Error("no problem is an error")
	}
	problems.Add("a.b", "must be at least %d", 4)
	problems.Add("c", "is missing")
	if err := problems.Err(); !errors.Is(err, ErrInvalid) || errors.Is(err, ErrConflict) || err.Error() != "a.b: must be at least 4; c: is missing" {
		t.Errorf("got %v", err)
	}
}
