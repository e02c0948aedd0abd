// Package dhcp is both sides of DHCP (RFC 2131, RFC 8415) around a concentrator: the client that gets its own address from the underlay, and
// dnsmasq, which serves addresses and names to the hosts of one subnet.
//
// Every host has one static entry; there is no dynamic range, so that a stranger gets nothing. Names that clients send are ignored:
// a host cannot take another's name. dnsmasq listens on the subnet's bridge alone; queries for other domains go to the underlay's
// DNS servers. Hosts come and go without a restart (SIGHUP makes dnsmasq forget what it knew), and when a host goes its lease is
// released, so that the address can be given to another at once.
//
// What is guaranteed: dnsmasq outlives the process that started it; its successor takes it over when it was started with the same
// settings, and replaces it otherwise. Processes are held by descriptor and checked by command line and namespace before they are
// signalled: a pid that is used again is never another's death. Files are written whole or not at all.
package dhcp
