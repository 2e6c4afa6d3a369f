/* Netlink and its families: rtnetlink, nf_tables, connection tracking. */
#ifndef CLINUX_NETLINK_H
#define CLINUX_NETLINK_H

#include <stdint.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/if_link.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/fib_rules.h>
#include <linux/veth.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nf_tables.h>

/* Socket options of SOL_NETLINK and SOL_SOCKET that do not import as numbers. */
static const int PORTOLAN_SOL_NETLINK = 270;
static const int PORTOLAN_SO_SNDBUFFORCE = 32;
static const int PORTOLAN_SO_RCVBUFFORCE = 33;

/* linux/if.h clashes with net/if.h, so the flags a link can carry are repeated here. */
static const uint32_t PORTOLAN_IFF_UP = 0x1;
static const uint32_t PORTOLAN_IFF_BROADCAST = 0x2;
static const uint32_t PORTOLAN_IFF_LOOPBACK = 0x8;
static const uint32_t PORTOLAN_IFF_RUNNING = 0x40;
static const uint32_t PORTOLAN_IFF_LOWER_UP = 0x10000;

/* Message and multicast group numbers that are expressions or typed enumerators. */
static const uint32_t PORTOLAN_RTMGRP_LINK = 0x1;
static const uint32_t PORTOLAN_RTMGRP_NEIGH = 0x4;
static const uint32_t PORTOLAN_RTMGRP_IPV4_IFADDR = 0x10;
static const uint32_t PORTOLAN_RTMGRP_IPV4_ROUTE = 0x40;
static const uint32_t PORTOLAN_RTMGRP_IPV6_IFADDR = 0x100;
static const uint32_t PORTOLAN_RTMGRP_IPV6_ROUTE = 0x400;

#endif
