import DNS
import DNSServer
import Glibc
import NetworkTypes

// Serves a zone of N Services (and, with --headless, 1,000 headless ones of 100 endpoints each) on
// 127.0.0.1:PORT with one thread on processor 0, until its standard input ends. `dns.sh` runs it
// beside Knot with the same zone.
//
//     DNSBenchmark serve PORT SERVICES [--headless] [--forward ADDRESS:PORT]
//     DNSBenchmark zone SERVICES       prints the same zone as a master file
//     DNSBenchmark change SERVICES     prints the time to change one Service

let arguments = CommandLine.arguments
let command = arguments.count > 1 ? arguments[1] : ""
switch command {
case "serve": try serve()
case "zone": printZone()
case "change": measureChanges()
case "names": printNames()
default:
    print(
        "usage: DNSBenchmark serve PORT SERVICES | zone SERVICES | names SERVICES | change SERVICES"
    )
    exit(2)
}

func serviceCount(_ place: Int) -> Int { arguments.count > place ? Int(arguments[place]) ?? 0 : 0 }

func service(_ number: Int) -> ServiceRecordInput {
    ServiceRecordInput(
        namespace: "ns\(number % 50)", name: "service-\(number)",
        clusterIPs: [.v4(0x0A60_0000 + UInt32(number))],
        ports: [ServiceRecordInput.Port(name: "http", transport: .tcp, port: 80)])
}

func headless(_ number: Int) -> ServiceRecordInput {
    let port = ServiceRecordInput.Port(name: "http", transport: .tcp, port: 80)
    return ServiceRecordInput(
        namespace: "ns\(number % 50)", name: "headless-\(number)", isHeadless: true, ports: [port],
        endpoints: (0..<100).map {
            ServiceRecordInput.Endpoint(
                addresses: [.v4(0x0AF4_0000 + UInt32(number * 100 + $0))], hostname: "pod-\($0)",
                ports: [port])
        })
}

func makeZone(_ count: Int, withHeadless: Bool) -> Zone {
    let zone = Zone(
        configuration: ZoneConfiguration(name: DNSName("cluster.local") ?? .root))
    for number in 0..<50 { zone.applyNamespace("ns\(number)", exists: true) }
    for number in 0..<count {
        let input = withHeadless && number < 1000 ? headless(number) : service(number)
        zone.apply(input.key, input)
    }
    return zone
}

func serve() throws {
    let before = proportionalSetKiB()
    let zone = makeZone(serviceCount(3), withHeadless: arguments.contains("--headless"))
    var routes: [ForwardRoute] = []
    if let place = arguments.firstIndex(of: "--forward"), place + 1 < arguments.count,
        let upstream = SocketAddress(arguments[place + 1])
    {
        routes = [ForwardRoute(upstreams: [Upstream(upstream)])]
    }
    let server = DNSServer(
        configuration: ServerConfiguration(
            listenAddresses: [
                SocketAddress(.v4(0x7F00_0001), port: UInt16(clamping: serviceCount(2)))
            ], threadCount: 1, firstProcessor: 0, zone: zone, routes: routes))
    try server.start()
    print("ready: \(zone.nameCount) names, zone \(proportionalSetKiB() - before) KiB")
    fflush(nil)
    while getchar() != EOF {}
    server.stop()
}

func printZone() {
    print("$ORIGIN cluster.local.\n$TTL 30")
    print("@ SOA ns.dns hostmaster 1 7200 1800 86400 30\n@ NS ns.dns\nns.dns A 10.96.0.10")
    for number in 0..<serviceCount(2) {
        let input = service(number)
        let name = "\(input.name).\(input.namespace).svc"
        print("\(name) A \(input.clusterIPs[0])\n_http._tcp.\(name) SRV 0 100 80 \(name)")
    }
}

func printNames() {
    var random = SystemRandomNumberGenerator()
    for _ in 0..<100_000 {
        let input = service(Int.random(in: 0..<max(1, serviceCount(2)), using: &random))
        print("\(input.name).\(input.namespace).svc.cluster.local A")
    }
}

func measureChanges() {
    let zone = makeZone(serviceCount(2), withHeadless: true)
    var single: [UInt64] = []
    var wide: [UInt64] = []
    var wideProcessor: [UInt64] = []
    for round in 0..<2000 {
        var input = service(1000 + round % 1000)
        input.clusterIPs = [.v4(0x0A70_0000 + UInt32(round))]
        single.append(nanoseconds { zone.apply(input.key, input) })
        var large = headless(round % 1000)
        large.endpoints.removeLast()
        var processor: UInt64 = 0
        wide.append(
            nanoseconds {
                processor = nanoseconds(CLOCK_THREAD_CPUTIME_ID) { zone.apply(large.key, large) }
            })
        wideProcessor.append(processor)
    }
    measureSnapshot(zone)
    single.sort()
    wide.sort()
    wideProcessor.sort()
    print(
        "change of a ClusterIP Service: p50 \(single[1000] / 1000) µs, p99 \(single[1980] / 1000) µs"
    )
    print(
        "change of 100 endpoints: p50 \(wide[1000] / 1000) µs, p99 \(wide[1980] / 1000) µs; "
            + "of processor time p50 \(wideProcessor[1000] / 1000) µs, "
            + "p99 \(wideProcessor[1980] / 1000) µs")
}

/// Writes the zone to a file and restores it, reading included, five times.
func measureSnapshot(_ zone: Zone) {
    let path = "/tmp/portolan-dns-benchmark-\(getpid())"
    defer { unlink(path) }
    let target = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    let taken = nanoseconds {
        zone.writeSnapshot { _ = write(target, $0.baseAddress, $0.count) }
    }
    close(target)
    var times: [UInt64] = []
    var names = 0
    for _ in 0..<5 {
        times.append(
            nanoseconds {
                guard let memory = readFile(path),
                    let copy = try? Zone.restored(from: memory, configuration: zone.configuration)
                else { return }
                names = copy.nameCount
            })
    }
    times.sort()
    print(
        "snapshot of \(zone.nameCount) names: taken in \(taken / 1_000_000) ms, \(names) names read "
            + "and restored in \(times[2] / 1_000_000) ms (median of 5)")
}

func readFile(_ path: String) -> SnapshotMemory? {
    let source = open(path, O_RDONLY)
    defer { close(source) }
    var information = stat()
    guard fstat(source, &information) == 0,
        let memory = SnapshotMemory(byteCount: Int(information.st_size))
    else { return nil }
    var count = 0
    while count < memory.bytes.count, let base = memory.bytes.baseAddress {
        let got = read(source, base + count, memory.bytes.count - count)
        guard got > 0 else { return nil }
        count += got
    }
    return memory
}

func nanoseconds(_ clock: clockid_t = CLOCK_MONOTONIC, _ body: () -> Void) -> UInt64 {
    var start = timespec()
    var end = timespec()
    clock_gettime(clock, &start)
    body()
    clock_gettime(clock, &end)
    return UInt64((end.tv_sec - start.tv_sec) * 1_000_000_000 + end.tv_nsec - start.tv_nsec)
}

/// The process' proportional set size.
func proportionalSetKiB() -> Int {
    guard let file = fopen("/proc/self/smaps_rollup", "r") else { return 0 }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 256)
    while fgets(&line, 256, file) != nil {
        let text = String(
            decoding: line.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
        if text.hasPrefix("Pss:") { return Int(text.split(separator: " ")[1]) ?? 0 }
    }
    return 0
}
