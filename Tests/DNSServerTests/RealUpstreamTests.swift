import DNS
import DNSServer
import Glibc
import NetworkTypes
import TestSupport
import Testing

/// Debian's own name servers as upstreams, one of them killed in the middle.
@Suite(.offPool) struct RealUpstreamTests {
    private static let daemonPath = ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin"]

    /// Waits until `process` answers on `port`; where it ends or stays silent, says its own words.
    private static func waitUntilAnswering(_ port: UInt16, _ process: RunningCommand) throws {
        do {
            try eventually("an answer on port \(port), or the program's end") {
                try !process.isRunning
                    || Command.run([
                        "dig", "@127.0.0.1", "-p", "\(port)", "+short", "+time=1", "+tries=1",
                        "host.real.test",
                    ]).trimmedOutput == "192.0.2.77"
            }
        } catch {
            throw TestFailure("\(error); it said: \(process.errorOutputSoFar)")
        }
        guard process.isRunning else {
            throw TestFailure("it ended and said: \(process.errorOutputSoFar)")
        }
    }

    private static func dnsmasq(_ port: UInt16) throws -> RunningCommand {
        let process = try RunningCommand(
            [
                "/usr/sbin/dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null",
                "--no-resolv", "--no-hosts", "--port=\(port)", "--listen-address=127.0.0.1",
                "--bind-interfaces", "--address=/host.real.test/192.0.2.77", "--pid-file=",
                "--user=root", "--local=/real.test/",
            ], environment: daemonPath)
        try waitUntilAnswering(port, process)
        return process
    }

    private static func unbound(_ port: UInt16, _ directory: String) throws -> RunningCommand {
        let configuration = """
            server:
              interface: 127.0.0.1@\(port)
              directory: "\(directory)"
              chroot: ""
              username: ""
              use-syslog: no
              do-daemonize: no
              pidfile: "\(directory)/unbound.pid"
              local-zone: "real.test." static
              local-data: "host.real.test. 60 IN A 192.0.2.77"
            remote-control:
              control-enable: no
            """
        let path = "\(directory)/unbound.conf"
        try Command.check(["sh", "-c", "cat > \(path)"], input: configuration)
        let process = try RunningCommand(
            ["/usr/sbin/unbound", "-d", "-c", path], environment: daemonPath)
        try waitUntilAnswering(port, process)
        return process
    }

    @Test func oneIsKilledInTheMiddle() throws {
        let directory = try Command.check(["mktemp", "-d"]).trimmedOutput
        defer { _ = try? Command.run(["rm", "-rf", directory]) }
        let (firstPort, secondPort) = (try freePort(), try freePort())
        let first = try Self.dnsmasq(firstPort)
        let second = try Self.unbound(secondPort, directory)
        defer {
            kill(first.processID, SIGKILL)
            kill(second.processID, SIGKILL)
        }
        let loopback = IPAddress.v4(0x7F00_0001)
        let route = ForwardRoute(
            upstreams: [firstPort, secondPort].map { Upstream(SocketAddress(loopback, port: $0)) },
            cache: nil, policy: .roundRobin)
        let fixture = try ServerFixture(routes: [route])
        for round in 0..<20 {
            if round == 10 { kill(first.processID, SIGKILL) }
            let transport = round % 2 == 0 ? "+notcp" : "+tcp"
            #expect(
                try fixture.dig("+short", transport, "host.real.test") == "192.0.2.77",
                "round \(round)")
        }
        #expect(try fixture.dig("none.real.test").contains("status: NXDOMAIN"))
    }
}
