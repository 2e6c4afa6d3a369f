/* Kernel and C library interfaces that Swift's Glibc module leaves out. Each theme has a header of
 * its own; where Glibc's module gains one of them, delete it here.
 *
 * _GNU_SOURCE must stay undefined: it changes the layout of types (fd_set) that Glibc's module has
 * already defined without it. Functions that need it are wrapped under a portolan_ name.
 */
#ifndef CLINUX_H
#define CLINUX_H

#include "CLinuxNamespaces.h"
#include "CLinuxNetlink.h"
#include "CLinuxFiles.h"
#include "CLinuxMemory.h"
#include "CLinuxSpawn.h"
#include "CLinuxPackets.h"
#include "CLinuxSockets.h"
#include "CLinuxBPF.h"

#endif
