// Package chaostest has what a cluster is compared with after it was made to fail, whether its parts are goroutines of one process or
// daemons of a machine.
//
//   - History: every live copy of an instance that there ever was, noted by engines or seen from outside. It says, with porcupine, whether
//     any instance had two at a time, or an old one after a newer one.
//   - Ledger: the rows of a store or a backup. It says whether quotas and addresses agree with the list of instances, at any moment.
//   - Wishes: what users asked for and what they were answered. It says whether anything was lost, or is there though nobody wanted it.
package chaostest
