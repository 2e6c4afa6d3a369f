import Glibc
import TestSupport
import Testing

/// `portolan backup` and `portolan restore`, as a user runs them.
@Suite(.offPool) struct BackupTests {
    @Test func aBackupOfARunningClusterComesBack() throws {
        try StandaloneFixture.run { cluster in
            func portolan(_ command: String, _ file: String) throws -> CommandResult {
                try Command.run([
                    try StandaloneFixture.portolan, command, "--name", cluster.name, "--data-dir",
                    cluster.dataDirectory, file,
                ])
            }
            let file = "\(cluster.dataDirectory)/first.backup"
            try cluster.kubectl("create", "configmap", "kept", "--from-literal=a=1")
            try cluster.kubectl("create", "service", "clusterip", "web", "--tcp=80")
            let address = try cluster.kubectl(
                "get", "svc", "web", "-o", "jsonpath={.spec.clusterIP}")
            let saved = try portolan("backup", file)
            #expect(saved.exitCode == 0, "\(saved.errorOutput)")
            #expect(saved.output.contains(" objects as of revision "))
            #expect(try Command.check(["stat", "-c", "%a", file]).output == "600\n")
            let again = try portolan("backup", file)
            #expect(again.exitCode == 1)
            #expect(again.errorOutput.contains("exists already: name a new file"))

            try cluster.kubectl("create", "configmap", "later", "--from-literal=a=1")
            try cluster.kubectl("delete", "service", "web")
            let refused = try portolan("restore", file)
            #expect(refused.exitCode == 1)
            #expect(refused.errorOutput.contains("is running already"))

            try cluster.down()
            let garbage = "\(cluster.dataDirectory)/garbage"
            try Command.check(["dd", "if=/dev/urandom", "of=\(garbage)", "bs=4k", "count=4"])
            for path in [garbage, "/dev/null", "\(cluster.dataDirectory)/none"] {
                let result = try portolan("restore", path)
                #expect(result.exitCode == 1)
                #expect(result.errorOutput.split(separator: "\n").count == 1)
                #expect(result.errorOutput.contains(path), "\(result.errorOutput)")
            }
            // A cluster that is down can be backed up as well.
            let second = try portolan("backup", "\(cluster.dataDirectory)/second.backup")
            #expect(second.exitCode == 0, "\(second.errorOutput)")
            let restored = try portolan("restore", file)
            #expect(restored.exitCode == 0, "\(restored.errorOutput)")

            try cluster.up()
            #expect(
                try cluster.kubectl("get", "svc", "web", "-o", "jsonpath={.spec.clusterIP}")
                    == address)
            #expect(
                try cluster.kubectl("get", "cm", "kept", "-o", "jsonpath={.data.a}") == "1")
            #expect(try cluster.tryKubectl("get", "cm", "later").exitCode == 1)
            try cluster.kubectl("create", "configmap", "after", "--from-literal=a=1")
        }
    }
}
