/* AF_PACKET sockets, ARP and Ethernet numbers, batched datagrams. */
#ifndef CLINUX_PACKETS_H
#define CLINUX_PACKETS_H

#include <stdint.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/filter.h>

static const int PORTOLAN_SO_BINDTODEVICE = 25;
static const int PORTOLAN_SO_ATTACH_FILTER = 26;
static const int PORTOLAN_SO_REUSEPORT = 15;
static const int PORTOLAN_SO_MARK = 36;
static const int PORTOLAN_SO_INCOMING_CPU = 49;
static const int PORTOLAN_IP_PKTINFO = 8;
static const int PORTOLAN_IP_FREEBIND = 15;
static const int PORTOLAN_IP_TRANSPARENT = 19;
static const int PORTOLAN_IPV6_RECVPKTINFO = 49;
static const int PORTOLAN_IPV6_PKTINFO = 50;
static const int PORTOLAN_SO_ORIGINAL_DST = 80;

#endif
