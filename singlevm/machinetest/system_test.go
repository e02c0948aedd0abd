package machinetest

import "testing"

func TestContained(t *testing.T) {
	for own, want := range map[string]bool{
		"0::/\n":                               false,
		"0::/init.scope\n":                     false,
		"2:pids:/\n1:name=systemd:/\n0::/\n":   false,
		"2:pids:/docker/9c0d\n0::/\n":          true,
		"0::/system.slice/docker-9c0d.scope\n": true,
	} {
		if got := contained(own); got != want {
			t.Errorf("%q: %t, want %t", own, got, want)
		}
	}
}
