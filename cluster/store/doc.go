// Package store keeps the state of a cluster: typed tables behind two doors, a transaction and a watch.
//
// # How it works
//
// One engine, [DB], serves every backend. It holds all rows, decoded and with their secondary indexes, in
// copy-on-write trees. [Store.View] takes the current image in constant time and never waits for a writer.
// [Store.Update] runs a function on such an image, collects what it read and wrote, and commits that through the
// [Backend] with a comparison of the revision of every row it read with Get or wrote; a lost race runs the
// function again. The image is kept current by the backend's log of transactions, applied in order of revision.
//
// # What is guaranteed
//
//   - A View is one consistent snapshot: all of a transaction's writes or none.
//   - An Update is all or nothing, and its reads see its own writes. Two Updates that read or wrote the same row
//     happen one after the other, in one process or in several.
//   - A View or Update that starts after an Update returned, in the same process, sees its writes. Other
//     processes on the same backend see them soon after; [DB.Sync] waits until all that was committed anywhere
//     before it is visible here.
//   - When Update has returned without error, the writes survive whatever the backend survives.
//   - A watcher gets every committed transaction once, in order, or a [Batch] with Resync set in place of what it
//     missed. It never slows the store down.
//
// # What is not
//
// Protection is by row. All, From, By and Len inside an Update see a consistent snapshot but do not protect it: a
// row that appears or changes in the set while the transaction commits is not noticed (a row that the transaction
// then writes is). An invariant over a set of rows ("at most five per tenant", "no address twice") must
// therefore touch a common row: read and write the tenant's usage row, or Create a row whose key is the name or
// address that has to be unique.
//
// # Use
//
//	var Tenants = store.NewTable("tenants", func(t Tenant) string { return t.ID },
//		store.Index[Tenant]{Name: "name", Keys: func(t Tenant) []string { return []string{t.Name} }})
//
//	_, err := db.Update(ctx, func(tx store.Tx) error { return Tenants.Create(tx, tenant) })
//	err = db.View(ctx, func(r store.Reader) error { tenant, err = Tenants.Get(r, id); return err })
//
//	for batch := range db.Watch(ctx, store.WatchOptions{}) {
//		if batch.Resync { /* View and start from what is there */ continue }
//		for c := range Tenants.Changes(batch) { … }
//	}
package store
