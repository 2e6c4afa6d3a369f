import Informer
import KubernetesAPI

// What happens between a pod's deletion and its containers' SIGTERM: see `PodDrain`.
extension PodWorker {
    /// Begins to wait for the nodes, beside the preStop hooks; ends a wait that a deletion without
    /// grace has overtaken.
    func beginDrain(graceSeconds: Int) {
        guard graceSeconds > 0 else {
            drainTask?.cancel()
            return
        }
        guard drainTask == nil, let drain = context.drain else { return }
        let pod = pod
        let limit = PodDrain.limitSeconds(graceSeconds: graceSeconds)
        drainTask = Task {
            let outcome = await drain.run(pod, limitSeconds: limit)
            if case .timedOut(let reason) = outcome, !Task.isCancelled {
                self.event(
                    .warning, "DrainTimeout",
                    "Ending the pod after waiting \(limit) s for all nodes to stop sending new "
                        + "connections to it: \(reason). Connections may be lost; look at the "
                        + "proxy of those nodes (http://NODE:10256/livez)")
            }
        }
    }
}
