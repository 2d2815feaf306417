// SPDX-License-Identifier: Apache-2.0
// Hands frames between a switch's cables and the bridges of its tenants, for kernels without VLAN-aware bridges.
//
// Each (interface, VLAN) that is attached has a veth pair: one end beside the cable's interface, the other a port of the
// segment's bridge. A frame from the cable is looked up by interface and VLAN, loses its tag and leaves by the veth; a
// frame that comes out of the veth gets its tag and leaves by the cable. What has no entry is dropped, so that a VLAN
// that nobody configured reaches nobody. VLAN 0 stands for untagged frames.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define VLAN_ID_MASK 0x0fff
#define MAX_ENTRIES 16384  // two per attachment

struct place {
	__u32 ifindex;  // as a value, 0: the frame stays where it came in, and the switch's own stack takes it
	__u32 vlan;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_ENTRIES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct place);
	__type(value, struct place);
} handoff SEC(".maps");

SEC("tc")
int from_cable(struct __sk_buff *skb)
{
	struct place at = {
		.ifindex = skb->ifindex,
		.vlan = skb->vlan_present ? skb->vlan_tci & VLAN_ID_MASK : 0,
	};
	const struct place *to = bpf_map_lookup_elem(&handoff, &at);

	if (!to)
		return TC_ACT_SHOT;
	if (!to->ifindex)
		return TC_ACT_OK;
	if (skb->vlan_present && bpf_skb_vlan_pop(skb))  // a priority tag (VLAN 0) goes too
		return TC_ACT_SHOT;
	return bpf_redirect(to->ifindex, 0);
}

SEC("tc")
int from_segment(struct __sk_buff *skb)
{
	struct place at = { .ifindex = skb->ifindex };
	const struct place *to = bpf_map_lookup_elem(&handoff, &at);

	if (!to || !to->ifindex)
		return TC_ACT_SHOT;
	if (to->vlan && bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), to->vlan))
		return TC_ACT_SHOT;
	return bpf_redirect(to->ifindex, 0);
}

char _license[] SEC("license") = "Apache-2.0";
