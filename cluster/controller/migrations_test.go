package controller

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/cluster/store/backup"
	"github.com/ciaocloud/ciao/cluster/store/memstore"
)

// Backups of stores as each schema had them, with rows in every table. That of the present schema is made by -update as long as no
// released program has the schema; the others stay as they are for ever, and every later program must open them.
const kept = "testdata/store-%d.backup"

var update = flag.Bool("update", false, "write the backup of the present schema")

func latestSchema() int { return len(Schema().Migrations) }

// makeStore writes the backup of the present schema.
func makeStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.open(w.memory.Backend())
		w.lead()
		w.fake.addNode(1)
		w.prepare()
		w.create(2, "web")
		w.untilState(cluster.Active, 2)
		if _, err := w.c.StopInstance(w.ctx, w.tenant.ID, "web-2"); err != nil {
			t.Fatal(err)
		}
		w.untilState(cluster.Stopped, 1)
		w.stop()
		<-w.done
		w.create(2, "later") // stays a batch: nobody unfolds it
		if _, err := w.db.Update(w.ctx, func(tx store.Tx) error {
			return errors.Join(putSamples(tx, w.tenant.ID), volumes.Put(tx, madeVolumeRow(w.tenant.ID)), sshKeys.Put(tx, keptKeyRow(w.tenant.ID)),
				revocationLists.Put(tx, revocationsRow{newestRevocations, []byte("not looked at")}))
		}); err != nil {
			t.Fatal(err)
		}
		s, err := w.db.Snapshot(w.ctx)
		if err != nil {
			t.Fatal(err)
		}
		s.Rows = MarkRestored(s.Rows, time.Now(), time.Now())
		var out bytes.Buffer
		if _, err := backup.Write(&out, "lab", time.Now(), s); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(fmt.Sprintf(kept, latestSchema()), out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		w.db.Close()
	})
}

// putSamples adds rows of what nobody made.
func putSamples(tx store.Tx, tenant string) error {
	prefix := netip.MustParsePrefix("198.51.100.16/28")
	pool := cluster.Pool{ID: "66666666-6666-4666-8666-666666666666", Name: "lab", Prefixes: []netip.Prefix{prefix}, Lent: 1, Created: time.Now().UTC()}
	external := cluster.ExternalIP{
		Address: prefix.Addr().Next(), Pool: pool.ID, Tenant: tenant, State: cluster.ExternalReserved, Created: time.Now().UTC(),
	}
	usage, err := usages.Get(tx, tenant)
	usage.Usage.ExternalIPs++
	usage.Usage.Volumes++
	usage.Usage.DiskMiB += madeVolumeRow(tenant).SizeMiB
	return errors.Join(err, usages.Put(tx, usage), images.Put(tx, activeImage(tenant)), pools.Put(tx, pool), externalIPs.Put(tx, external))
}

func activeImage(tenant string) cluster.Image {
	return cluster.Image{
		ID: "55555555-5555-4555-8555-555555555555", Name: "root", Tenant: tenant, Visibility: cluster.Private, State: cluster.ImageActive,
		Format: cluster.FormatQcow2, Bytes: 1 << 20, DiskBytes: 1 << 30, Digest: "sha256:" + strings.Repeat("0", 64), Created: time.Now().UTC(),
	}
}

func keptKeyRow(tenant string) cluster.SSHKey {
	return cluster.SSHKey{
		ID: "88888888-8888-4888-8888-888888888888", Name: "laptop", Tenant: tenant, Key: publicKey + " me@home",
		Fingerprint: "SHA256:" + strings.Repeat("0", 43), Created: time.Now().UTC(),
	}
}

func madeVolumeRow(tenant string) cluster.Volume {
	image := activeImage(tenant).Content()
	return cluster.Volume{
		ID: "66666666-6666-4666-8666-666666666666", Name: "data", Tenant: tenant, State: cluster.VolumeAvailable, Content: cluster.ContentDisk,
		Storage: cluster.StorageLocal, Token: 1, SizeMiB: 1024, Image: &image, Node: "77777777-7777-4777-8777-777777777777", Made: true, Created: time.Now().UTC(),
		Place: cluster.VolumePlace{Number: 1, Target: "/data", ReadOnly: true}, Ephemeral: true, Reason: "none",
	}
}

// TestStoresOfAllSchemasOpen restores the kept backup of every schema that there ever was, and opens it as a controller does.
func TestStoresOfAllSchemasOpen(t *testing.T) {
	if *update {
		makeStore(t)
	}
	for number := range latestSchema() + 1 {
		name := fmt.Sprintf(kept, number)
		t.Run(name, func(t *testing.T) {
			memory, rows := restored(t, name)
			db, err := memory.Open(t.Context(), Schema(), slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			err = db.View(t.Context(), func(r store.Reader) error {
				counts := map[string]int{}
				for path := range rows {
					table, _, _ := strings.Cut(path, "/")
					counts[table]++
				}
				for _, table := range Schema().Tables {
					if counts[table.Name()] == 0 && number == latestSchema() {
						t.Errorf("it has no row of table %s: make it anew with -update", table.Name())
					}
				}
				checkStored(t, r, rows)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			checkKept(t, db)
		})
	}
}

// restored restores a backup into memory and returns its rows, migrated to the present schema.
func restored(t *testing.T, name string) (*memstore.Memory, map[string][]byte) {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatalf("%v: every schema needs its backup: make it with -update", err)
	}
	defer file.Close()
	b, err := backup.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	memory := memstore.New()
	if _, err := store.Replace(t.Context(), memory.Backend(), b.Rows(), false); err != nil {
		t.Fatal(err)
	}
	db, err := memory.Open(t.Context(), Schema(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s, err := db.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string][]byte{}
	for row, err := range s.Rows {
		if err != nil {
			t.Fatal(err)
		}
		rows[row.Path] = row.Value
	}
	return memory, rows
}

// checkStored wants every row to be read whole: what the program does not take from a stored row is lost when it writes the row again.
func checkStored(t *testing.T, r store.Reader, rows map[string][]byte) {
	t.Helper()
	read := map[string]any{}
	take(read, r, tenants, func(v cluster.Tenant) string { return v.ID })
	take(read, r, usages, func(v usageRow) string { return v.Tenant })
	take(read, r, claims, func(v claim) string { return v.Key })
	take(read, r, workloads, func(v cluster.Workload) string { return v.ID })
	take(read, r, instances, func(v cluster.Instance) string { return v.ID })
	take(read, r, batches, func(v cluster.Batch) string { return v.ID })
	take(read, r, subnets, func(v cluster.Subnet) string { return v.ID })
	take(read, r, nodes, func(v cluster.Node) string { return v.ID })
	take(read, r, events, func(v cluster.Event) string { return v.ID })
	take(read, r, ownRanges, func(v rangeRow) string { return v.Name })
	take(read, r, images, func(v cluster.Image) string { return v.ID })
	take(read, r, sshKeys, func(v cluster.SSHKey) string { return v.ID })
	take(read, r, volumes, func(v cluster.Volume) string { return v.ID })
	take(read, r, pools, func(v cluster.Pool) string { return v.ID })
	take(read, r, externalIPs, func(v cluster.ExternalIP) string { return v.Address.String() })
	take(read, r, revocationLists, func(v revocationsRow) string { return v.Key })
	take(read, r, restorations, func(v restoration) string { return v.Key })
	for _, path := range slices.Sorted(maps.Keys(rows)) {
		if strings.HasPrefix(path, "_/") {
			continue
		}
		again, err := json.Marshal(read[path])
		if err != nil {
			t.Fatal(err)
		}
		for _, lost := range losses(path, generic(t, rows[path]), generic(t, again)) {
			t.Errorf("%s is not read as it was stored: a field that was renamed, dropped or changed needs a migration", lost)
		}
	}
}

// losses are the places of what is stored and not read; what is read beside it is a field that was added.
func losses(at string, stored, read any) (lost []string) {
	switch stored := stored.(type) {
	case map[string]any:
		fields, _ := read.(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(stored)) {
			lost = append(lost, losses(at+"."+name, stored[name], fields[name])...)
		}
		return lost
	case []any:
		items, _ := read.([]any)
		for i, item := range stored {
			if i >= len(items) {
				return append(lost, fmt.Sprintf("%s[%d]", at, i))
			}
			lost = append(lost, losses(fmt.Sprintf("%s[%d]", at, i), item, items[i])...)
		}
		return lost
	}
	if !cmp.Equal(stored, read) {
		lost = append(lost, at)
	}
	return lost
}

func take[T any](read map[string]any, r store.Reader, table *store.Table[T], key func(T) string) {
	for v := range table.All(r) {
		read[table.Name()+"/"+key(v)] = v
	}
}

func generic(t *testing.T, data []byte) (v any) {
	t.Helper()
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	return v
}

// checkKept looks at the story that every kept backup tells.
func checkKept(t *testing.T, db *store.DB) {
	t.Helper()
	c, err := New(Config{Store: db})
	if err != nil {
		t.Fatal(err)
	}
	all, _, err := c.Instances(t.Context(), Operator, InstanceFilter{})
	if err != nil {
		t.Fatal(err)
	}
	states := map[string]cluster.State{}
	for _, i := range all {
		states[i.Name] = i.State
	}
	want := map[string]cluster.State{"web-1": cluster.Active, "web-2": cluster.Stopped, "later-1": cluster.Pending, "later-2": cluster.Pending}
	if diff := cmp.Diff(want, states); diff != "" {
		t.Errorf("instances (-want +got): %s", diff)
	}
	tenant, _, err := c.Tenant(t.Context(), Operator, "red")
	if err != nil {
		t.Fatal(err)
	}
	if err := db.View(t.Context(), func(r store.Reader) error { checkTenant(t, r, tenant); return nil }); err != nil {
		t.Fatal(err)
	}
}
