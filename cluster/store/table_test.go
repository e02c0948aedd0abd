package store_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/cluster/store/memstore"
)

type tenant struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

var tenants = store.NewTable("tenants", func(t tenant) string { return t.ID },
	store.Index[tenant]{Name: "name", Keys: func(t tenant) []string { return []string{t.Name} }})

func Example() {
	ctx := context.Background()
	db, err := memstore.Open(ctx, store.Schema{Tables: []store.AnyTable{tenants}}, slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer db.Close()

	_, err = db.Update(ctx, func(tx store.Tx) error {
		return tenants.Create(tx, tenant{ID: "1", Name: "blue"})
	})
	fmt.Println(err)
	_, err = db.Update(ctx, func(tx store.Tx) error {
		return tenants.Create(tx, tenant{ID: "1", Name: "red"})
	})
	fmt.Println(err)
	err = db.View(ctx, func(r store.Reader) error {
		for t := range tenants.By(r, "name", "blue") {
			fmt.Println(t.ID, t.Name)
		}
		_, err := tenants.Get(r, "2")
		return err
	})
	fmt.Println(err)
	// Output:
	// <nil>
	// tenants "1": already exists
	// 1 blue
	// tenants "2": not found
}

func TestTableName(t *testing.T) {
	for _, name := range []string{"", "Upper", "a/b", "_", "1a", strings.Repeat("a", 64)} {
		mustPanic(t, name, func() { store.NewTable(name, func(t tenant) string { return t.ID }) })
	}
	store.NewTable("a-1", func(t tenant) string { return t.ID })
}

func TestMistakesInTheProgram(t *testing.T) {
	other := store.NewTable("others", func(t tenant) string { return t.ID })
	db, err := memstore.Open(t.Context(), store.Schema{Tables: []store.AnyTable{tenants}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(t.Context(), func(r store.Reader) error {
		mustPanic(t, "table not opened", func() { other.Get(r, "a") })
		mustPanic(t, "no such index", func() { tenants.By(r, "nick", "a") })
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	var kept store.Tx
	if _, err := db.Update(t.Context(), func(tx store.Tx) error { kept = tx; return nil }); err != nil {
		t.Error(err)
	}
	if err := tenants.Put(kept, tenant{ID: "late"}); err == nil {
		t.Error("a transaction can be written to after its end")
	}
}

func TestBadSchema(t *testing.T) {
	for name, schema := range map[string]store.Schema{
		"a table twice":       {Tables: []store.AnyTable{tenants, tenants}},
		"a number left out":   {Migrations: []store.Migration{{Number: 2}}},
		"numbers in disorder": {Migrations: []store.Migration{{Number: 1}, {Number: 3}, {Number: 2}}},
		"a number used twice": {Migrations: []store.Migration{{Number: 1}, {Number: 1}}},
	} {
		if db, err := memstore.Open(t.Context(), schema, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s: opened (%v)", name, db.Close())
		}
	}
}

func mustPanic(t *testing.T, name string, do func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s: no panic", name)
		}
	}()
	do()
}
