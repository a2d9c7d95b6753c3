package ctrd

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// nftTable is our own table: one rule for each open network, known by the bridge's name in its user data.
const nftTable = "optml"

func masqueradeChain() (*nftables.Table, *nftables.Chain) {
	t := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: nftTable}
	return t, &nftables.Chain{
		Name: "postrouting", Table: t, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	}
}

// addMasquerade lets what comes from subnet and leaves by another link than the bridge go out under the host's address.
func addMasquerade(bridge string, subnet netip.Prefix) error {
	if err := removeMasquerade(bridge); err != nil { // what a crash left
		return err
	}
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	table, chain := masqueradeChain()
	conn.AddTable(table)
	conn.AddChain(chain)
	net4, mask := subnet.Masked().Addr().As4(), [4]byte{255, 255, 255, 0}
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, bridge)
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, UserData: []byte(bridge), Exprs: []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4}, // source address
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask[:], Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: net4[:]},
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: name},
		&expr.Masq{},
	}})
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("add masquerade rule of %s (does the kernel have nf_tables and nft_masq?): %w", bridge, err)
	}
	return nil
}

// removeMasquerade removes the bridge's rule, and the table with its last one.
func removeMasquerade(bridge string) error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	table, chain := masqueradeChain()
	rules, err := conn.GetRules(table, chain)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list masquerade rules: %w", err)
	}
	left, found := len(rules), false
	for _, r := range rules {
		if string(r.UserData) == bridge {
			if err := conn.DelRule(r); err != nil {
				return fmt.Errorf("remove masquerade rule of %s: %w", bridge, err)
			}
			left, found = left-1, true
		}
	}
	if left == 0 {
		conn.DelTable(table)
	} else if !found {
		return nil
	}
	if err := conn.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove masquerade rule of %s: %w", bridge, err)
	}
	return nil
}

// masquerades lists the bridges that have a rule.
func masquerades() []string {
	conn, err := nftables.New()
	if err != nil {
		return nil
	}
	rules, err := conn.GetRules(masqueradeChain())
	if err != nil {
		return nil
	}
	var out []string
	for _, r := range rules {
		out = append(out, string(r.UserData))
	}
	return out
}
