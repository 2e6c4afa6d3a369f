/* bpf(2): maps, programs, and what the kernel says of them. */
#ifndef CLINUX_BPF_H
#define CLINUX_BPF_H

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>

static inline int portolan_bpf(int command, union bpf_attr *attributes) {
    return (int)syscall(SYS_bpf, command, attributes, sizeof *attributes);
}

/* Makes a map; its descriptor, or -1 and errno. */
static inline int portolan_bpf_create_map(
    uint32_t type, uint32_t key_size, uint32_t value_size, uint32_t entries, uint32_t flags,
    const char *name) {
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.map_type = type;
    attributes.key_size = key_size;
    attributes.value_size = value_size;
    attributes.max_entries = entries;
    attributes.map_flags = flags;
    strncpy(attributes.map_name, name, sizeof attributes.map_name - 1);
    return portolan_bpf(BPF_MAP_CREATE, &attributes);
}

/* A command on one element: BPF_MAP_{LOOKUP,UPDATE,DELETE,LOOKUP_AND_DELETE}_ELEM. */
static inline int portolan_bpf_element(
    int command, int map, const void *key, void *value, uint64_t flags) {
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.map_fd = (uint32_t)map;
    attributes.key = (uint64_t)(uintptr_t)key;
    attributes.value = (uint64_t)(uintptr_t)value;
    attributes.flags = flags;
    return portolan_bpf(command, &attributes);
}

/* A command on many elements: BPF_MAP_{LOOKUP,UPDATE,DELETE}_BATCH. `count` is replaced by how many
 * there were; `position` (eight bytes) is read where `is_first` is 0, and written by look-ups. */
static inline int portolan_bpf_batch(
    int command, int map, int is_first, void *position, void *keys, void *values,
    uint32_t *count) {
    union bpf_attr attributes;
    int result;
    memset(&attributes, 0, sizeof attributes);
    attributes.batch.map_fd = (uint32_t)map;
    if (command == BPF_MAP_LOOKUP_BATCH) {
        attributes.batch.in_batch = is_first ? 0 : (uint64_t)(uintptr_t)position;
        attributes.batch.out_batch = (uint64_t)(uintptr_t)position;
    }
    attributes.batch.keys = (uint64_t)(uintptr_t)keys;
    attributes.batch.values = (uint64_t)(uintptr_t)values;
    attributes.batch.count = *count;
    result = portolan_bpf(command, &attributes);
    *count = attributes.batch.count;
    return result;
}

/* Loads a program; its descriptor, or -1 and errno with the verifier's words in `log`. */
static inline int portolan_bpf_load(
    uint32_t type, const void *instructions, uint32_t count, const char *name, char *log,
    uint32_t log_size) {
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.prog_type = type;
    attributes.insns = (uint64_t)(uintptr_t)instructions;
    attributes.insn_cnt = count;
    /* The kernel only asks whether helpers for GPL programs may be called; none here is. */
    attributes.license = (uint64_t)(uintptr_t)"Apache-2.0";
    strncpy(attributes.prog_name, name, sizeof attributes.prog_name - 1);
    if (log_size > 0) {
        attributes.log_level = 1;
        attributes.log_buf = (uint64_t)(uintptr_t)log;
        attributes.log_size = log_size;
        log[0] = 0;
    }
    return portolan_bpf(BPF_PROG_LOAD, &attributes);
}

/* Runs a program on a packet that is made as if received from link `link`. `size` is the room in
 * `output`, and is replaced by the packet's length after it; `result` is what the program returned. */
static inline int portolan_bpf_test(
    int program, uint32_t link, const void *input, uint32_t input_size, void *output,
    uint32_t *size, uint32_t *result) {
    union bpf_attr attributes;
    struct __sk_buff context;
    int code;
    memset(&attributes, 0, sizeof attributes);
    memset(&context, 0, sizeof context);
    context.ifindex = link;
    attributes.test.prog_fd = (uint32_t)program;
    attributes.test.data_in = (uint64_t)(uintptr_t)input;
    attributes.test.data_size_in = input_size;
    attributes.test.data_out = (uint64_t)(uintptr_t)output;
    attributes.test.data_size_out = *size;
    attributes.test.repeat = 1;
    attributes.test.ctx_in = (uint64_t)(uintptr_t)&context;
    attributes.test.ctx_size_in = sizeof context;
    code = portolan_bpf(BPF_PROG_TEST_RUN, &attributes);
    *size = attributes.test.data_size_out;
    *result = attributes.test.retval;
    return code;
}

/* Opens the program (BPF_PROG_GET_FD_BY_ID) or map (BPF_MAP_GET_FD_BY_ID) of a number. */
static inline int portolan_bpf_open(int command, uint32_t number) {
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.prog_id = number;
    return portolan_bpf(command, &attributes);
}

/* The numbers of a program's maps, at most `*count`, which is replaced by how many there are. */
static inline int portolan_bpf_maps_of(int program, uint32_t *numbers, uint32_t *count) {
    union bpf_attr attributes;
    struct bpf_prog_info info;
    int result;
    memset(&attributes, 0, sizeof attributes);
    memset(&info, 0, sizeof info);
    info.nr_map_ids = *count;
    info.map_ids = (uint64_t)(uintptr_t)numbers;
    attributes.info.bpf_fd = (uint32_t)program;
    attributes.info.info_len = sizeof info;
    attributes.info.info = (uint64_t)(uintptr_t)&info;
    result = portolan_bpf(BPF_OBJ_GET_INFO_BY_FD, &attributes);
    *count = info.nr_map_ids;
    return result;
}

/* What a map is. */
static inline int portolan_bpf_map_info(int map, struct bpf_map_info *info) {
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    memset(info, 0, sizeof *info);
    attributes.info.bpf_fd = (uint32_t)map;
    attributes.info.info_len = sizeof *info;
    attributes.info.info = (uint64_t)(uintptr_t)info;
    return portolan_bpf(BPF_OBJ_GET_INFO_BY_FD, &attributes);
}

#endif
