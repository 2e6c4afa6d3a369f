import Informer
import JSON
import KubernetesAPI
import NetworkTypes
import TestSupport
import Testing

@testable import PodRuntime

@Suite struct PodMachineTests {
    private let start = Timestamp(seconds: 1_700_000_000)

    private func machine(_ spec: JSONValue) throws -> PodMachine {
        let pod = try Pod(json: [
            "metadata": ["name": "p", "namespace": "default", "uid": "u"], "spec": spec,
        ])
        var machine = PodMachine(spec: PodSpecification(pod))
        #expect(machine.decide(at: start) == [.prepareSandbox])
        #expect(machine.decide(at: start) == [])
        machine.sandboxPrepared(error: nil, at: start)
        return machine
    }

    private func run(_ machine: inout PodMachine, _ name: String, _ id: String, at now: Timestamp) {
        machine.started(
            name, id: id, imageID: "i", processID: 9, processStart: 1, at: now)
    }

    @Test func restartsWithGrowingPauses() throws {
        var machine = try machine(spec())
        var now = start
        var pauses: [Int] = []
        for attempt in 0..<8 {
            var actions = machine.decide(at: now)
            if case .wake(let time)? = actions.first {
                #expect(
                    machine.containers["main"]?.state
                        == .waiting(
                            reason: "CrashLoopBackOff",
                            message: "back-off \(Int(time.secondsSince(now)))s restarting failed "
                                + "container=main pod=p_default(u)"))
                pauses.append(Int(time.secondsSince(now)))
                now = time
                actions = machine.decide(at: now)
            }
            #expect(actions == [.start(container: "main", attempt: attempt)])
            run(&machine, "main", "c\(attempt)", at: now)
            #expect(machine.phase == "Running")
            machine.exited("main", id: "c\(attempt)", exitCode: 1, at: now)
            #expect(machine.phase == "Running")
        }
        #expect(pauses == [10, 20, 40, 80, 160, 300])
        // A long run clears the record.
        guard case .wake(let time)? = machine.decide(at: now).first else {
            throw TestFailure("no pause")
        }
        #expect(machine.decide(at: time) == [.start(container: "main", attempt: 8)])
        run(&machine, "main", "c8", at: time)
        let later = time.adding(seconds: 700)
        machine.exited("main", id: "c8", exitCode: 1, at: later)
        #expect(machine.decide(at: later) == [.start(container: "main", attempt: 9)])
    }

    @Test(arguments: [
        ("Always", Int32(0), "Running"), ("OnFailure", 0, "Succeeded"),
        ("OnFailure", 1, "Running"), ("Never", 0, "Succeeded"), ("Never", 1, "Failed"),
    ])
    func endsByItsPolicy(policy: String, exitCode: Int32, phase: String) throws {
        var machine = try machine(spec(pod: ["restartPolicy": .string(policy)]))
        _ = machine.decide(at: start)
        run(&machine, "main", "c", at: start)
        machine.exited("main", id: "c", exitCode: exitCode, at: start)
        #expect(machine.phase == phase)
        let isOver = phase != "Running"
        #expect(machine.decide(at: start).contains(.tearDown) == isOver)
    }

    @Test func runsInitContainersInOrderAndSidecarsBeside() throws {
        let json = spec(
            pod: [
                "initContainers": [
                    ["name": "first", "image": "i"],
                    ["name": "side", "image": "i", "restartPolicy": "Always"],
                    ["name": "second", "image": "i"],
                ]
            ])
        var machine = try machine(json)
        #expect(machine.decide(at: start) == [.start(container: "first", attempt: 0)])
        #expect(machine.decide(at: start) == [])
        run(&machine, "first", "f", at: start)
        #expect(machine.decide(at: start) == [])
        machine.exited("first", id: "f", exitCode: 0, at: start)
        #expect(machine.decide(at: start) == [.start(container: "side", attempt: 0)])
        run(&machine, "side", "s", at: start)
        #expect(machine.decide(at: start) == [.start(container: "second", attempt: 0)])
        run(&machine, "second", "t", at: start)
        machine.exited("second", id: "t", exitCode: 0, at: start)
        #expect(machine.isInitialized)
        #expect(machine.decide(at: start) == [.start(container: "main", attempt: 0)])
        run(&machine, "main", "m", at: start)
        // A sidecar that ends runs again; the others stay as they are.
        machine.exited("side", id: "s", exitCode: 0, at: start)
        #expect(machine.decide(at: start) == [.start(container: "side", attempt: 1)])
    }

    @Test func stopsEverythingBeforeItTearsDown() throws {
        var machine = try machine(spec())
        _ = machine.decide(at: start)
        // A container that is being started is not stopped before it is there.
        machine.requestDeletion(graceSeconds: 30)
        #expect(machine.decide(at: start) == [])
        run(&machine, "main", "c", at: start)
        #expect(
            machine.decide(at: start) == [
                .stop(container: "main", graceSeconds: 30, message: "Stopping container main")
            ])
        #expect(machine.decide(at: start) == [])
        // A shorter grace period counts, a longer one does not.
        machine.requestDeletion(graceSeconds: 60)
        #expect(machine.decide(at: start) == [])
        machine.requestDeletion(graceSeconds: 0)
        #expect(
            machine.decide(at: start) == [
                .stop(container: "main", graceSeconds: 0, message: "Stopping container main")
            ])
        machine.exited("main", id: "c", exitCode: 137, at: start)
        #expect(machine.decide(at: start) == [.tearDown])
        #expect(!machine.isDone)
        machine.sandboxTornDown()
        #expect(machine.isDone)
        #expect(machine.decide(at: start) == [])
    }

    @Test func ephemeralContainersRunOnceAndHoldNothingUp() throws {
        var machine = try machine(spec(pod: ["restartPolicy": "Always"]))
        #expect(machine.decide(at: start) == [.start(container: "main", attempt: 0)])
        run(&machine, "main", "c", at: start)
        let pod = try Pod(json: [
            "metadata": ["name": "p", "namespace": "default", "uid": "u"],
            "spec": ["ephemeralContainers": [["name": "look", "image": "i"]]],
        ])
        machine.setEphemeralContainers(PodSpecification.ephemeralContainers(pod))
        #expect(machine.decide(at: start) == [.start(container: "look", attempt: 0)])
        #expect(machine.phase == "Running" && machine.areContainersReady)
        run(&machine, "look", "l", at: start)
        machine.exited("look", id: "l", exitCode: 1, at: start)
        // It is not started again, and its failure is not the pod's.
        #expect(machine.decide(at: start) == [])
        #expect(machine.phase == "Running" && machine.areContainersReady)
    }

    @Test func showsPullErrorsThenBackOff() throws {
        var machine = try machine(spec())
        #expect(machine.decide(at: start) == [.start(container: "main", attempt: 0)])
        machine.startFailed("main", reason: "ErrImagePull", message: "no", at: start)
        #expect(machine.decide(at: start) == [.wake(at: start.adding(seconds: 5))])
        #expect(
            machine.decide(at: start.adding(seconds: 6)) == [.wake(at: start.adding(seconds: 10))])
        guard case .waiting("ImagePullBackOff", _)? = machine.containers["main"]?.state else {
            throw TestFailure("\(String(describing: machine.containers["main"]))")
        }
        #expect(
            machine.decide(at: start.adding(seconds: 10)) == [
                .start(container: "main", attempt: 0)
            ])
        #expect(machine.phase == "Pending")
    }

    @Test func recordsSurviveTheDisk() throws {
        var machine = try machine(spec())
        _ = machine.decide(at: start)
        run(&machine, "main", "c", at: start)
        let running = try #require(machine.containers["main"])
        var kept = ContainerRecord(json: try JSONValue(parsing: running.json.serializedText))
        kept.isReady = running.isReady
        #expect(kept == running)
        machine.exited("main", id: "c", exitCode: 2, message: "x", at: start)
        let ended = try #require(machine.containers["main"])
        #expect(ContainerRecord(json: ended.json) == ended)
    }

    @Test func conditionsKeepTheirTimes() throws {
        var machine = try machine(spec())
        _ = machine.decide(at: start)
        func status(_ previous: JSONValue, at now: Timestamp) -> JSONValue {
            PodStatus.make(
                machine,
                PodStatus.Inputs(
                    hostIP: .v4(1), podIP: .v4(2), startTime: start, previous: previous, now: now))
        }
        func condition(_ status: JSONValue, _ type: String) -> JSONValue? {
            status["conditions"]?.array?.first { $0["type"]?.string == type }
        }
        let first = status(["conditions": [["type": "Own", "status": "True"]]], at: start)
        #expect(condition(first, "Ready")?["status"] == "False")
        #expect(condition(first, "Own") != nil)
        let second = status(first, at: start.adding(seconds: 60))
        #expect(second == first)
        run(&machine, "main", "c", at: start)
        let third = status(second, at: start.adding(seconds: 90))
        #expect(condition(third, "Ready")?["status"] == "True")
        #expect(
            condition(third, "Ready")?["lastTransitionTime"]?.string
                == start.adding(seconds: 90).description)
        #expect(
            condition(third, "PodScheduled")?["lastTransitionTime"]?.string == start.description)
        #expect(third["podIP"]?.string == "0.0.0.2")
    }

    @Test func countsProbes() throws {
        let json: JSONValue = [
            "tcpSocket": ["port": 1], "failureThreshold": 3, "successThreshold": 2,
        ]
        var counter = ProbeCounter(try #require(ProbeSpecification(json: json)))
        let results = [true, true, false, false, true, false, false, false, false, true, true]
        let verdicts = results.map { counter.count($0) }
        #expect(
            verdicts
                == [nil, true, nil, nil, nil, nil, nil, false, false, nil, true])
    }
}
