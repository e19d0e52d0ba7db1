"""The parts of our two tables that do not depend on any guest. Pure text; docs/firewall.md explains it.

Everything that grows with the number of guests is an element of a set or a map, so a packet meets the same number of
rules however many guests there are. Checks are written so that only what matches is let through: in nft a rule whose
field cannot be read (a packet cut short) does not match, and must not thereby pass.
"""

CONNECTIONS = 16384  # that one guest may have open through the host at a time
METADATA4 = ("169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192")
METADATA6 = ("fd00:ec2::254", "fd20:ce::254")

BRIDGE = """\
	set ports { type ifname; }
	set macs { type ifname . ether_addr; }
	set own4 { type ifname . ether_addr . ipv4_addr; }
	set own6 { type ifname . ether_addr . ipv6_addr; }
	set hardware { typeof iifname . @th,288,48; }
	set targets6 { typeof iifname . @th,64,128; }
	set ruled { type ifname; }
	map leaving { type ifname : verdict; }
	map arriving { type ifname : verdict; }
	set transports { type inet_proto; elements = { tcp, udp } }
	set flows4 { type ifname . inet_proto . ipv4_addr . inet_service . inet_service; flags dynamic,timeout; size 1048576; }
	set flows6 { type ifname . inet_proto . ipv6_addr . inet_service . inet_service; flags dynamic,timeout; size 1048576; }
	set echo4 { type ifname . ipv4_addr; flags dynamic,timeout; size 262144; }
	set echo6 { type ifname . ipv6_addr; flags dynamic,timeout; size 262144; }
	set many_flows { type ifname; flags dynamic,timeout; timeout 1m; size 65536; }
	set many_lasting { type ifname; flags dynamic,timeout; timeout 10m; size 65536; }
	set many_arp { type ifname; flags dynamic,timeout; timeout 1m; size 65536; }
	set many_nd { type ifname; flags dynamic,timeout; timeout 1m; size 65536; }
	set many_dhcp { type ifname; flags dynamic,timeout; timeout 1m; size 65536; }
	set many_groups { type ifname; flags dynamic,timeout; timeout 1m; size 65536; }
	chain prerouting {
		type filter hook prerouting priority -300; policy accept;
		iifname @ports goto guest
	}
	chain input {
		type filter hook input priority -300; policy accept;
		iifname @ports ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 drop
	}
	chain sender {
		type filter hook forward priority -300; policy accept;
		oifname @ports udp dport { 67, 547 } drop
		iifname @ruled goto sending
	}
	chain receiver {
		type filter hook forward priority -290; policy accept;
		oifname @ruled goto receiving
	}
	chain postrouting {
		type filter hook postrouting priority -300; policy accept;
		oifname @ports ether daddr & 01:00:00:00:00:00 == 00:00:00:00:00:00 oifname . ether daddr != @macs drop
	}
	chain basics {
		ether type arp accept
		icmpv6 type { 131, 132, 133, 135, 136, 143 } accept
		ip frag-off & 0x1fff != 0 counter drop
		exthdr frag exists counter drop
	}
	chain sending {
		jump basics
		meta l4proto @transports iifname . meta l4proto . ip daddr . th dport . th sport @flows4 goto sent
		meta l4proto @transports iifname . meta l4proto . ip6 daddr . th dport . th sport @flows6 goto sent
		icmp type echo-reply iifname . ip daddr @echo4 accept
		icmpv6 type echo-reply iifname . ip6 daddr @echo6 accept
		iifname vmap @leaving
	}
	chain receiving {
		jump basics
		meta l4proto @transports oifname . meta l4proto . ip saddr . th sport . th dport @flows4 goto received
		meta l4proto @transports oifname . meta l4proto . ip6 saddr . th sport . th dport @flows6 goto received
		icmp type echo-reply oifname . ip saddr @echo4 accept
		icmpv6 type echo-reply oifname . ip6 saddr @echo6 accept
		oifname vmap @arriving
	}
	chain new_sent {
		update @many_flows { iifname limit rate over 500/second burst 5000 packets } counter drop
		goto sent
	}
	chain new_received {
		update @many_flows { iifname limit rate over 500/second burst 5000 packets } counter drop
		goto received
	}
	chain sent {
		tcp flags & (fin | rst) != 0 update @flows4 { iifname . meta l4proto . ip daddr . th dport . th sport timeout 30s } accept
		tcp flags & psh != 0 ip version 4 goto sent_data4
		meta l4proto tcp add @flows4 { iifname . meta l4proto . ip daddr . th dport . th sport timeout 1m } accept
		meta l4proto udp update @flows4 { iifname . meta l4proto . ip daddr . th dport . th sport timeout 2m } accept
		icmp type echo-request update @echo4 { iifname . ip daddr timeout 30s } accept
		tcp flags & (fin | rst) != 0 update @flows6 { iifname . meta l4proto . ip6 daddr . th dport . th sport timeout 30s } accept
		tcp flags & psh != 0 ip6 version 6 goto sent_data6
		meta l4proto tcp add @flows6 { iifname . meta l4proto . ip6 daddr . th dport . th sport timeout 1m } accept
		meta l4proto udp update @flows6 { iifname . meta l4proto . ip6 daddr . th dport . th sport timeout 2m } accept
		icmpv6 type echo-request update @echo6 { iifname . ip6 daddr timeout 30s } accept
		accept
	}
	chain sent_data4 {
		update @many_lasting { iifname limit rate over 10/second burst 2000 packets } update @flows4 { iifname . meta l4proto . ip daddr . th dport . th sport timeout 2m } accept
		update @flows4 { iifname . meta l4proto . ip daddr . th dport . th sport timeout 1h } accept
	}
	chain sent_data6 {
		update @many_lasting { iifname limit rate over 10/second burst 2000 packets } update @flows6 { iifname . meta l4proto . ip6 daddr . th dport . th sport timeout 2m } accept
		update @flows6 { iifname . meta l4proto . ip6 daddr . th dport . th sport timeout 1h } accept
	}
	chain received {
		tcp flags & (fin | rst) != 0 update @flows4 { oifname . meta l4proto . ip saddr . th sport . th dport timeout 30s } accept
		tcp flags & psh != 0 ip version 4 goto received_data4
		meta l4proto tcp add @flows4 { oifname . meta l4proto . ip saddr . th sport . th dport timeout 1m } accept
		meta l4proto udp update @flows4 { oifname . meta l4proto . ip saddr . th sport . th dport timeout 2m } accept
		icmp type echo-request update @echo4 { oifname . ip saddr timeout 30s } accept
		tcp flags & (fin | rst) != 0 update @flows6 { oifname . meta l4proto . ip6 saddr . th sport . th dport timeout 30s } accept
		tcp flags & psh != 0 ip6 version 6 goto received_data6
		meta l4proto tcp add @flows6 { oifname . meta l4proto . ip6 saddr . th sport . th dport timeout 1m } accept
		meta l4proto udp update @flows6 { oifname . meta l4proto . ip6 saddr . th sport . th dport timeout 2m } accept
		icmpv6 type echo-request update @echo6 { oifname . ip6 saddr timeout 30s } accept
		accept
	}
	chain received_data4 {
		update @many_lasting { iifname limit rate over 10/second burst 2000 packets } update @flows4 { oifname . meta l4proto . ip saddr . th sport . th dport timeout 2m } accept
		update @flows4 { oifname . meta l4proto . ip saddr . th sport . th dport timeout 1h } accept
	}
	chain received_data6 {
		update @many_lasting { iifname limit rate over 10/second burst 2000 packets } update @flows6 { oifname . meta l4proto . ip6 saddr . th sport . th dport timeout 2m } accept
		update @flows6 { oifname . meta l4proto . ip6 saddr . th sport . th dport timeout 1h } accept
	}
	chain guest {
		iifname . ether saddr != @macs counter drop
		ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 counter drop
		ether type vmap { arp : goto arp_in, ip : goto ip_in, ip6 : goto ip6_in }
		counter drop
	}
	chain arp_in {
		update @many_arp { iifname limit rate over 50/second burst 100 packets } counter drop
		arp htype 1 arp ptype ip arp hlen 6 arp plen 4 arp operation { request, reply } goto arp_own
		counter drop
	}
	chain arp_own {
		iifname . arp saddr ether . arp saddr ip @own4 accept
		arp operation request arp saddr ip 0.0.0.0 iifname . arp saddr ether . arp daddr ip @own4 accept
		counter drop
	}
	chain ip_in {
		udp dport 67 goto dhcp
		udp sport 67 counter drop
		udp dport 68 counter drop
		meta l4proto != 255 iifname . ether saddr . ip saddr @own4 goto spoken
		counter drop
	}
	chain dhcp {
		udp sport 68 ip frag-off & 0x3fff == 0 @th,64,24 0x010106 @th,256,32 0 iifname . @th,288,48 @hardware goto dhcp_own
		counter drop
	}
	chain dhcp_own {
		update @many_dhcp { iifname limit rate over 10/second burst 20 packets } counter drop
		ip saddr 0.0.0.0 ip daddr 255.255.255.255 accept
		iifname . ether saddr . ip saddr @own4 accept
		counter drop
	}
	chain ip6_in {
		ip6 nexthdr { 43, 60, 135, 139, 140 } counter drop
		frag nexthdr { 0, 43, 44, 60, 135 } counter drop
		icmpv6 type vmap { 130 : drop, 131 : goto mld, 132 : goto mld, 133 : goto rs, 134 : drop, 135 : goto ns, 136 : goto na, 137 : drop, 138 : drop, 143 : goto mld }
		ip6 nexthdr 0 counter drop
		udp dport 547 goto dhcp6
		udp sport 547 counter drop
		udp dport 546 counter drop
		meta l4proto != 255 iifname . ether saddr . ip6 saddr @own6 goto spoken
		counter drop
	}
	chain mld {
		update @many_nd { iifname limit rate over 50/second burst 100 packets } counter drop
		ip6 saddr :: accept
		iifname . ether saddr . ip6 saddr @own6 accept
		counter drop
	}
	chain rs {
		update @many_nd { iifname limit rate over 50/second burst 100 packets } counter drop
		ip6 nexthdr 58 ip6 length 8 ip6 saddr :: accept
		ip6 nexthdr 58 ip6 length 8 iifname . ether saddr . ip6 saddr @own6 accept
		ip6 nexthdr 58 ip6 length 16 @th,64,16 0x0101 iifname . @th,80,48 @hardware iifname . ether saddr . ip6 saddr @own6 accept
		counter drop
	}
	chain ns {
		update @many_nd { iifname limit rate over 50/second burst 100 packets } counter drop
		ip6 nexthdr 58 ip6 length 24 iifname . ether saddr . ip6 saddr @own6 accept
		ip6 nexthdr 58 ip6 length 32 @th,192,16 0x0101 iifname . @th,208,48 @hardware iifname . ether saddr . ip6 saddr @own6 accept
		ip6 nexthdr 58 ip6 length 24 ip6 saddr :: iifname . @th,64,128 @targets6 accept
		ip6 nexthdr 58 ip6 length 32 ip6 saddr :: @th,192,16 0x0e01 iifname . @th,64,128 @targets6 accept
		counter drop
	}
	chain na {
		update @many_nd { iifname limit rate over 50/second burst 100 packets } counter drop
		ip6 nexthdr 58 iifname . ether saddr . ip6 saddr @own6 iifname . @th,64,128 @targets6 goto na_own
		counter drop
	}
	chain na_own {
		ip6 length 24 accept
		ip6 length 32 @th,192,16 0x0201 iifname . @th,208,48 @hardware accept
		counter drop
	}
	chain dhcp6 {
		update @many_dhcp { iifname limit rate over 10/second burst 20 packets } counter drop
		udp sport 546 ip6 nexthdr 17 @th,64,8 { 1, 3, 4, 5, 6, 8, 9, 11 } iifname . ether saddr . ip6 saddr @own6 accept
		counter drop
	}
	chain spoken {
		ether daddr & 01:00:00:00:00:00 == 00:00:00:00:00:00 accept
		update @many_groups { iifname limit rate over 1000/second burst 2000 packets } counter drop
	}
"""

INET = f"""\
	set bridges {{ type ifname; }}
	set isolated {{ type ifname; }}
	set routed {{ type ifname; }}
	set same {{ type ifname . ifname; }}
	set gateways4 {{ type ifname . ipv4_addr; }}
	set gateways6 {{ type ifname . ipv6_addr; }}
	set subnets4 {{ type ipv4_addr; flags interval; }}
	set subnets6 {{ type ipv6_addr; flags interval; }}
	set hidden4 {{ type ipv4_addr; flags interval; }}
	set hidden6 {{ type ipv6_addr; flags interval; }}
	set metadata4 {{ type ipv4_addr; elements = {{ {", ".join(METADATA4)} }} }}
	set metadata6 {{ type ipv6_addr; elements = {{ {", ".join(METADATA6)} }} }}
	set transports {{ type inet_proto; elements = {{ tcp, udp }} }}
	map out4 {{ type ifname . ipv4_addr : verdict; }}
	map out6 {{ type ifname . ipv6_addr : verdict; }}
	map in4 {{ type ifname . ipv4_addr : verdict; }}
	map in6 {{ type ifname . ipv6_addr : verdict; }}
	set named4 {{ type ipv4_addr . ipv4_addr . inet_proto . inet_service; flags timeout; }}
	set named6 {{ type ipv6_addr . ipv6_addr . inet_proto . inet_service; flags timeout; }}
	set reached4 {{ type ipv4_addr . ipv4_addr; flags timeout; }}
	set reached6 {{ type ipv6_addr . ipv6_addr; flags timeout; }}
	map any4 {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}
	map any6 {{ type inet_proto . inet_service : ipv6_addr . inet_service; }}
	map at4 {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }}
	map at6 {{ type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service; }}
	map names4 {{ type ifname . ipv4_addr : inet_service; }}
	map names6 {{ type ifname . ipv6_addr : inet_service; }}
	set tracked4 {{ type ipv4_addr; flags dynamic; size 65536; }}
	set tracked6 {{ type ipv6_addr; flags dynamic; size 65536; }}
	chain input {{
		type filter hook input priority -5; policy accept;
		iifname @bridges goto host
	}}
	chain host {{
		ct state established,related accept
		udp sport 68 udp dport 67 accept
		udp sport 546 udp dport 547 accept
		icmpv6 type {{ 131, 132, 133, 135, 136, 143 }} accept
		ct status dnat iifname . ip daddr @gateways4 accept
		ct status dnat iifname . ip6 daddr @gateways6 accept
		jump limits
		iifname . ip saddr vmap @out4
		iifname . ip6 saddr vmap @out6
		icmp type echo-request iifname . ip daddr @gateways4 accept
		icmpv6 type echo-request iifname . ip6 daddr @gateways6 accept
		icmpv6 type echo-request ip6 daddr fe80::/10 accept
		meta l4proto @transports th dport 53 iifname . ip daddr @gateways4 accept
		meta l4proto @transports th dport 53 iifname . ip6 daddr @gateways6 accept
		counter drop
	}}
	chain limits {{
		ct state new add @tracked4 {{ ip saddr ct count over {CONNECTIONS} }} counter drop
		ct state new add @tracked6 {{ ip6 saddr ct count over {CONNECTIONS} }} counter drop
	}}
	chain forward {{
		type filter hook forward priority -5; policy accept;
		iifname @bridges goto leaving
	}}
	chain leaving {{
		iifname . oifname @same accept
		iifname @isolated counter drop
		ct state established,related accept
		jump limits
		iifname . ip saddr vmap @out4
		iifname . ip6 saddr vmap @out6
		ip daddr @metadata4 counter drop
		ip6 daddr @metadata6 counter drop
		ct status dnat accept
		oifname @bridges counter drop
	}}
	chain forwarded {{
		type filter hook forward priority -4; policy accept;
		oifname @bridges goto entering
	}}
	chain entering {{
		iifname . oifname @same accept
		oifname @isolated counter drop
		ct state established,related accept
		oifname . ip daddr vmap @in4
		oifname . ip6 daddr vmap @in6
		iifname @bridges accept
		ct status dnat accept
		oifname @routed accept
		counter drop
	}}
	chain sent {{
		type filter hook output priority -5; policy accept;
		oifname @bridges goto greeting
	}}
	chain greeting {{
		ct state established,related accept
		udp sport 67 accept
		udp sport 547 accept
		icmpv6 type {{ 130, 131, 132, 133, 134, 135, 136, 137, 143 }} accept
		oifname . ip daddr vmap @in4
		oifname . ip6 daddr vmap @in6
	}}
	chain prerouting {{
		type nat hook prerouting priority dstnat - 5; policy accept;
		iifname @bridges goto asked
		goto published
	}}
	chain asked {{
		udp dport 53 iifname . ip daddr @gateways4 redirect to : iifname . ip saddr map @names4
		tcp dport 53 iifname . ip daddr @gateways4 redirect to : iifname . ip saddr map @names4
		udp dport 53 iifname . ip6 daddr @gateways6 redirect to : iifname . ip6 saddr map @names6
		tcp dport 53 iifname . ip6 daddr @gateways6 redirect to : iifname . ip6 saddr map @names6
		iifname . ip daddr @gateways4 return
		iifname . ip6 daddr @gateways6 return
		iifname @isolated return
		goto published
	}}
	chain output {{
		type nat hook output priority -105; policy accept;
		ip daddr 127.0.0.0/8 return
		ip6 daddr ::1 return
		goto published
	}}
	chain published {{
		dnat ip to ip daddr . meta l4proto . th dport map @at4
		dnat ip6 to ip6 daddr . meta l4proto . th dport map @at6
		fib daddr type local dnat ip to meta l4proto . th dport map @any4
		fib daddr type local dnat ip6 to meta l4proto . th dport map @any6
	}}
	chain postrouting {{
		type nat hook postrouting priority srcnat - 5; policy accept;
		oifname @bridges ct status dnat ip saddr @subnets4 masquerade
		oifname @bridges ct status dnat ip6 saddr @subnets6 masquerade
		oifname != @bridges ip saddr @hidden4 masquerade
		oifname != @bridges ip6 saddr @hidden6 masquerade
	}}
"""
