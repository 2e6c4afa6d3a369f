import Informer
import JSON
import KubernetesAPI

/// What the node knows of one container of a pod, kept on disk across restarts of the agent.
struct ContainerRecord: Sendable, Hashable {
    /// Where the container stands.
    enum State: Sendable, Hashable {
        /// Not running, for a reason that kubectl shows.
        case waiting(reason: String, message: String)
        /// Being created; nothing runs yet.
        case starting
        case running(startedAt: Timestamp)
        case terminated(Termination)
    }

    var state: State = .waiting(reason: "ContainerCreating", message: "")
    var lastTermination: Termination?
    /// How often it was started again.
    var restartCount = 0
    /// The name runc has for it; empty before the first start.
    var id = ""
    var imageID = ""
    /// The first process, and when the kernel started it, so that a reused number is told apart.
    var processID: Int32 = 0
    var processStart: UInt64 = 0
    /// The startup probe has succeeded, or there is none.
    var isStarted = false
    /// The readiness probe succeeds, or there is none.
    var isReady = false
    /// A stop is under way.
    var isStopping = false
    /// The pause before the next start or pull, in seconds; 0 before the first failure.
    var backoffSeconds = 0
    /// No start before this.
    var notBefore: Timestamp?
    /// The next start asks a registry again, as the last one failed at that.
    var isPulling = false

    /// How a run of a container ended.
    struct Termination: Sendable, Hashable {
        var exitCode: Int32
        var reason: String
        var message = ""
        var startedAt: Timestamp?
        var finishedAt: Timestamp
        var id: String
    }

    /// True while there is, or may be, a process.
    var isActive: Bool {
        switch state {
        case .starting, .running: true
        case .waiting, .terminated: false
        }
    }

    /// True while the process runs.
    var isRunning: Bool {
        if case .running = state { true } else { false }
    }

    /// How the container ended, where it is not running now.
    var termination: Termination? {
        switch state {
        case .terminated(let termination): termination
        case .waiting: lastTermination
        case .starting, .running: nil
        }
    }
}

// MARK: - On disk

extension ContainerRecord {
    /// The record as it is kept on disk.
    var json: JSONValue {
        var value: JSONValue = [
            "restartCount": .integer(Int64(restartCount)), "id": .string(id),
            "imageID": .string(imageID), "processID": .integer(Int64(processID)),
            "processStart": .integer(Int64(truncatingIfNeeded: processStart)),
            "isStarted": .bool(isStarted), "backoffSeconds": .integer(Int64(backoffSeconds)),
        ]
        switch state {
        case .waiting(let reason, let message):
            value["waiting"] = ["reason": .string(reason), "message": .string(message)]
        case .starting: value["starting"] = true
        case .running(let startedAt): value["runningSince"] = .integer(startedAt.nanoseconds)
        case .terminated(let termination): value["terminated"] = termination.json
        }
        value["lastTermination"] = lastTermination?.json
        value["notBefore"] = (notBefore?.nanoseconds).map(JSONValue.integer)
        return value
    }

    /// Reads a record back.
    init(json: JSONValue) {
        restartCount = json["restartCount"]?.int ?? 0
        id = json["id"]?.string ?? ""
        imageID = json["imageID"]?.string ?? ""
        processID = Int32(clamping: json["processID"]?.int ?? 0)
        processStart = UInt64(bitPattern: json["processStart"]?.integer ?? 0)
        isStarted = json["isStarted"]?.bool ?? false
        backoffSeconds = json["backoffSeconds"]?.int ?? 0
        notBefore = json["notBefore"]?.integer.map(Timestamp.init(nanoseconds:))
        lastTermination = json["lastTermination"].map(Termination.init(json:))
        if let termination = json["terminated"] {
            state = .terminated(Termination(json: termination))
        } else if let since = json["runningSince"]?.integer {
            state = .running(startedAt: Timestamp(nanoseconds: since))
        } else if json["starting"] != nil {
            state = .starting
        } else {
            state = .waiting(
                reason: json["waiting", "reason"]?.string ?? "ContainerCreating",
                message: json["waiting", "message"]?.string ?? "")
        }
    }
}

extension ContainerRecord.Termination {
    fileprivate var json: JSONValue {
        var value: JSONValue = [
            "exitCode": .integer(Int64(exitCode)), "reason": .string(reason),
            "message": .string(message), "finishedAt": .integer(finishedAt.nanoseconds),
            "id": .string(id),
        ]
        value["startedAt"] = (startedAt?.nanoseconds).map(JSONValue.integer)
        return value
    }

    fileprivate init(json: JSONValue) {
        exitCode = Int32(clamping: json["exitCode"]?.int ?? 0)
        reason = json["reason"]?.string ?? ""
        message = json["message"]?.string ?? ""
        startedAt = json["startedAt"]?.integer.map(Timestamp.init(nanoseconds:))
        finishedAt = Timestamp(nanoseconds: json["finishedAt"]?.integer ?? 0)
        id = json["id"]?.string ?? ""
    }
}
