import NIOCore

/// Runs tasks on an event loop. A short write that goes on where its request came in, and where its
/// answer leaves, saves two changes of thread, which cost more than the work in between.
final class LoopExecutor: TaskExecutor {
    private let loop: any EventLoop

    init(_ loop: any EventLoop) { self.loop = loop }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        loop.execute { [self] in job.runSynchronously(on: asUnownedTaskExecutor()) }
    }
}
