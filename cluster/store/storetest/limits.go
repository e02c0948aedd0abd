package storetest

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ciaocloud/ciao/cluster/store"
)

func testOperations(t *testing.T, s Shared) {
	db := open(t, s)
	create := func(n int) error {
		_, err := db.Update(t.Context(), func(tx store.Tx) error {
			for i := range n {
				if err := items.Create(tx, Item{ID: fmt.Sprint(n, i)}); err != nil {
					return err
				}
			}
			return nil
		})
		return err
	}
	if err := create(store.MaxOperations); err != nil {
		t.Errorf("%d operations: %v", store.MaxOperations, err)
	}
	if err := create(store.MaxOperations + 1); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("%d operations: %v", store.MaxOperations+1, err)
	}
	_, err := db.Update(t.Context(), func(tx store.Tx) error {
		for i := range store.MaxOperations {
			items.Has(tx, fmt.Sprint(i))
		}
		return items.Put(tx, Item{ID: "one more"})
	})
	if !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("%d reads and a write of another row: %v", store.MaxOperations, err)
	}
	view(t, db, func(r store.Reader) {
		if n := items.Len(r); n != store.MaxOperations {
			t.Errorf("%d rows are there", n)
		}
	})
}

// testBytes finds the largest transactions of few and of many rows that the store lets through, which the backend then
// has to take.
func testBytes(t *testing.T, s Shared) {
	db := open(t, s)
	for _, rows := range []int{2, 64, store.MaxOperations} {
		key := strings.Repeat("k", store.MaxKeyBytes-4)
		write := func(each int) error {
			_, err := db.Update(t.Context(), func(tx store.Tx) error {
				for i := range rows {
					if err := items.Put(tx, Item{ID: fmt.Sprintf("%s%04d", key, i), Owner: strings.Repeat("é", each/2)}); err != nil {
						return err
					}
				}
				return nil
			})
			return err
		}
		low, high := 0, store.MaxTransactionBytes/rows
		for high-low > 8 {
			middle := (low + high) / 2
			switch err := write(middle); {
			case err == nil:
				low = middle
			case errors.Is(err, store.ErrTooLarge):
				high = middle
			default:
				t.Fatalf("%d rows of %d bytes: %v", rows, middle, err)
			}
		}
		if total := low * rows; total < store.MaxTransactionBytes*3/4 {
			t.Errorf("%d rows: only %d bytes are let through", rows, total)
		}
	}
}
