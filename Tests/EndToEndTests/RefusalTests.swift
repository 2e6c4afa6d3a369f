import Glibc
import TestSupport
import Testing

/// What `up` refuses: one line that says what to do, a code that is not 0, nothing left behind.
@Suite
struct RefusalTests {
    private func expectRefusal(
        _ cluster: StandaloneFixture, _ result: CommandResult, _ words: String...
    ) throws {
        #expect(result.exitCode != 0)
        let lines = result.errorOutput.split(separator: "\n")
        #expect(lines.count == 1, "\(result.errorOutput)")
        for word in words {
            #expect(result.errorOutput.contains(word), "\(result.errorOutput)")
        }
        #expect(!(try Command.check(["ip", "netns", "list"]).output.contains("\(cluster.name)-")))
        #expect(!(try Command.check(["ip", "-o", "link"]).output.contains("\(cluster.name)-lan")))
        #expect(access("/run/portolan/\(cluster.name).lock", F_OK) != 0)
    }

    @Test func notRoot() throws {
        try StandaloneFixture.unstarted { cluster in
            let result = try Command.run(
                ["setpriv", "--reuid", "65534", "--clear-groups", try readableCopy(cluster)]
                    + cluster.upArguments)
            try expectRefusal(cluster, result, "must run as root", "sudo")
        }
    }

    @Test func missingRunc() throws {
        try StandaloneFixture.unstarted { cluster in
            // A PATH alone does not hide runc: root's directories are searched as well.
            let script = """
                mount --bind /dev/null "$(readlink -f "$(command -v runc)")"
                exec "$0" "$@"
                """
            let result = try Command.run(
                ["unshare", "--mount", "sh", "-c", script, try StandaloneFixture.portolan]
                    + cluster.upArguments)
            try expectRefusal(cluster, result, "runc is not installed", "apt-get install runc")
        }
    }

    @Test func portInUse() throws {
        try StandaloneFixture.unstarted { cluster in
            let server = try RunningCommand([
                "python3", "-m", "http.server", "--bind", "127.0.0.1", "\(cluster.apiPort)",
            ])
            defer { server.stop() }
            try eventually("the port is taken") {
                try Command.run(["curl", "-s", "127.0.0.1:\(cluster.apiPort)"]).exitCode == 0
            }
            let result = try Command.run([try StandaloneFixture.portolan] + cluster.upArguments)
            try expectRefusal(cluster, result, "port \(cluster.apiPort)", "--api-port")
        }
    }

    @Test func overlappingLAN() throws {
        try NetworkFixture.run { network in
            let machine = try network.namespace("machine")
            let other = try network.namespace("other")
            try StandaloneFixture.unstarted { cluster in
                try network.connect(
                    machine, "\(cluster.lan).77", other, "\(cluster.lan).78", prefixLength: 24)
                let result = try Command.run(
                    [try StandaloneFixture.portolan] + cluster.upArguments,
                    in: machine.descriptor)
                try expectRefusal(cluster, result, "overlaps", "--lan-cidr")
            }
        }
    }

    @Test func newerDataDirectory() throws {
        try StandaloneFixture.unstarted { cluster in
            try cluster.up()
            try cluster.down()
            try Command.check([
                "sqlite3", "\(cluster.dataDirectory)/store.sqlite", "PRAGMA user_version = 9999",
            ])
            let result = try Command.run([try StandaloneFixture.portolan] + cluster.upArguments)
            try expectRefusal(cluster, result, "newer")
        }
    }

    @Test func secondUpWithTheSameName() throws {
        try StandaloneFixture.run { cluster in
            let result = try Command.run([try StandaloneFixture.portolan] + cluster.upArguments)
            #expect(result.exitCode != 0)
            #expect(result.errorOutput.contains("is running already"))
            #expect(result.errorOutput.contains("portolan down --name \(cluster.name)"))
            #expect(try cluster.kubectl("get", "nodes", "-o", "name").contains("node-1"))
        }
    }

    @Test(arguments: [
        (["--nodes", "0"], "--nodes"), (["--nodes", "51"], "--nodes"),
        (["--service-node-port-range", "9-1"], "--service-node-port-range"),
        (["--lan-cidr", "10.0.0.0/33"], "--lan-cidr"), (["--pod-cidr", "nonsense"], "--pod-cidr"),
    ])
    func badFlags(_ flags: [String], _ named: String) throws {
        let result = try Command.run([try StandaloneFixture.portolan, "up"] + flags)
        #expect(result.exitCode != 0)
        #expect(result.errorOutput.contains(named))
    }

    /// A copy of the program that another user may run.
    private func readableCopy(_ cluster: StandaloneFixture) throws -> String {
        let path = "/tmp/\(cluster.name)-portolan"
        try Command.check(["install", "-m", "755", try StandaloneFixture.portolan, path])
        return path
    }
}
