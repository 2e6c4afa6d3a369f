import TestSupport
import Testing

/// The tools of other tests.
struct TestSupportTests {
    @Test func commandsReportTheirEnd() throws {
        let result = try Command.run(["sh", "-c", "cat; echo wrong >&2; exit 3"], input: "text")
        #expect(result.exitCode == 3 && result.output == "text")
        #expect(result.errorOutput == "wrong\n")
        #expect(throws: TestFailure.self) { try Command.check(["false"]) }
        #expect(throws: TestFailure.self) { try Command.run(["no-such-program"]) }
        let process = try RunningCommand(["sleep", "60"])
        #expect(process.isRunning)
        #expect(process.stop().exitCode == 128 + 15)
        #expect(!process.isRunning)
    }

    @Test func aSlowCommandIsKilled() throws {
        let error = try #require(throws: TestFailure.self) {
            try Command.run(["sleep", "60"], timeoutSeconds: 0)
        }
        #expect(error.description.contains("did not end within 0 s"))
    }

    @Test func theClockWakesInOrder() async throws {
        let clock = VirtualClock()
        let (order, continuation) = AsyncStream.makeStream(of: Int.self)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (number, seconds) in [(1, 10), (2, 20)] {
                group.addTask {
                    try await clock.sleep(for: .seconds(seconds))
                    continuation.yield(number)
                }
            }
            group.addTask {
                try await eventually("both sleep") {
                    await Task.yield()
                    return clock.sleeperCount == 2
                }
                clock.advance(by: .seconds(15))
                clock.advance(by: .seconds(5))
            }
            try await group.waitForAll()
        }
        continuation.finish()
        var woken: [Int] = []
        for await number in order { woken.append(number) }
        #expect(Set(woken) == [1, 2])
        #expect(clock.now.offset == .seconds(20))
    }

    @Test func aCancelledSleeperThrows() async throws {
        let clock = VirtualClock()
        let task = Task { try await clock.sleep(for: .seconds(1)) }
        try await eventually("the sleeper") {
            await Task.yield()
            return clock.sleeperCount == 1
        }
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
        #expect(clock.sleeperCount == 0)
    }

    @Test func cleansUpAfterAnError() throws {
        var name = ""
        #expect(throws: TestFailure.self) {
            try NetworkFixture.run { network in
                name = try network.namespace("gone").name
                throw TestFailure("as meant")
            }
        }
        let names = try Command.check(["ip", "netns", "list"]).output
        #expect(!name.isEmpty && !names.contains(name))
    }

    @Test func bridgesCarryTraffic() throws {
        try NetworkFixture.run { network in
            let lan = try network.namespace("lan")
            try network.bridge("br0", in: lan)
            let hosts = try (1...3).map { number in
                let host = try network.namespace("h\(number)")
                try network.attach(
                    host, "10.7.0.\(number)", prefixLength: 24, to: "br0", in: lan)
                return host
            }
            let web = try hosts[1].start("python3", "-m", "http.server", "80")
            try eventually("the web server") {
                try hosts[2].run("curl", "-sf", "http://10.7.0.2/").exitCode == 0
            }
            web.stop()
        }
    }
}
