import CLinux
import Glibc
import Informer
import JSON
import KubernetesAPI
import Logging
import NetworkTypes
import ServiceProxy
import Synchronization

// The proxy from watch event to kernel, in a network namespace of its own, beside `nft -f` of
// kube-proxy's layout for the same objects.
//
//     ProxyBenchmark SERVICES ENDPOINTS [CHANGES [FAST-PATH]]  runs the agent; prints one line of
//         JSON
//     ProxyBenchmark kube-proxy SERVICES ENDPOINTS  prints kube-proxy's layout, for `nft -f`
//     ProxyBenchmark program SERVICES ENDPOINTS ADDRESS:PORT FAST-PATH  leaves the rules in the
//         namespace it is started in, the Service in the middle led to ADDRESS:PORT; prints its
//         cluster IP. FAST-PATH is on or off.

let arguments = CommandLine.arguments
if arguments.count == 4, arguments[1] == "kube-proxy" {
    ChainPerService(count: Int(arguments[2]) ?? 0, endpointCount: Int(arguments[3]) ?? 0).print()
    exit(0)
}
if arguments.count == 6, arguments[1] == "program" {
    let parts = arguments[4].split(separator: ":")
    var program = ProxyRun(Int(arguments[2]) ?? 1, Int(arguments[3]) ?? 1, 0)
    program.usesFastPath = arguments[5] == "on"
    await program.program(to: String(parts[0]), Int(parts[1]) ?? 80)
    exit(0)
}
guard arguments.count >= 3, let serviceCount = Int(arguments[1]),
    let endpointCount = Int(arguments[2])
else {
    print(
        "usage: ProxyBenchmark [kube-proxy|program] SERVICES ENDPOINTS "
            + "[CHANGES [FAST-PATH]|ADDRESS:PORT FAST-PATH]")
    exit(2)
}
let changeCount = arguments.count > 3 ? Int(arguments[3]) ?? 2000 : 2000
// Before any thread exists, so that all of them are in the new namespace.
guard portolan_unshare(PORTOLAN_CLONE_NEWNET) == 0 else {
    print("a network namespace needs root: errno \(errno)")
    exit(1)
}
var run = ProxyRun(serviceCount, endpointCount, changeCount)
run.usesFastPath = arguments.count <= 4 || arguments[4] == "on"
await run.measure()
