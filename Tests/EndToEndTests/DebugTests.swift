import JSON
import TestSupport
import Testing

/// `kubectl debug`: containers that are added to a pod while it runs.
@Suite(.offPool) struct DebugTests {
    @Test func ephemeralContainersLookIntoPods() throws {
        try StandaloneFixture.run { cluster in
            try cluster.kubectl(
                "run", "box", "--image=portolan/shell", "--restart=Never", "--command", "--",
                "sleep", "1d")
            try cluster.kubectl("wait", "--for=condition=Ready", "pod/box", "--timeout=60s")
            try cluster.kubectl(
                "debug", "box", "--image=portolan/shell", "--profile=general", "--target=box",
                "--container=look", "--", "sh", "-c", "tr '\\0' ' ' </proc/1/cmdline; exit 3")
            try cluster.kubectl(
                "wait", "pod/box", "--timeout=60s",
                "--for=jsonpath={.status.ephemeralContainerStatuses[0].state.terminated.exitCode}=3"
            )
            // It sees the processes of the container that it names.
            #expect(try cluster.kubectl("logs", "box", "-c", "look") == "sleep 1d")
            #expect(try cluster.kubectl("get", "pod", "box", "--no-headers").contains("1/1"))
            #expect(try cluster.kubectl("describe", "pod", "box").contains("Ephemeral Containers:"))
            let taken = try cluster.tryKubectl(
                "debug", "box", "--image=portolan/shell", "--profile=general", "--container=box",
                "--", "true")
            #expect(taken.exitCode != 0, "\(taken)")
            var pod = try JSONValue(parsing: cluster.kubectl("get", "pod", "box", "-o", "json"))
            pod["spec", "ephemeralContainers"] = .none
            let removed = try cluster.tryKubectl(
                "replace", "--raw", "/api/v1/namespaces/default/pods/box/ephemeralcontainers",
                "-f", "-", input: pod.serializedText)
            #expect(removed.errorOutput.contains("\"look\" may not be removed"), "\(removed)")
            try cluster.kubectl("delete", "pod", "box", "--now", "--timeout=60s")
        }
    }
}
