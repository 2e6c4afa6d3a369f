import Glibc
import Netlink
import NetworkTypes

/// Takes away what a node leaves on the machine. Everything here is fine with what is missing, so it
/// can be done again after it was interrupted. It blocks the calling thread.
public enum NodeCleanup {
    /// Ends every container of a node and takes away its mounts, namespaces, cgroups and pods'
    /// directories. Images stay.
    /// - Parameters:
    ///   - namePrefix: the prefix the node was started with.
    ///   - dataDirectory: the node's data directory.
    public static func removeEverything(namePrefix: String, dataDirectory: String) {
        let runtime = ContainerRuntime(
            stateDirectory: dataDirectory + "/runc", exitDirectory: dataDirectory + "/exits")
        let network = PodNetwork(namePrefix: namePrefix, lanAddress: .v4(0))
        let pods = dataDirectory + "/pods"
        // All are killed first, so that none is waited for one after another.
        for uid in Files.names(in: pods) {
            for record in PodState.read(pods + "/" + uid)?.containers.values.map(\.self) ?? []
            where record.isRunning
                && ProcessTable.startTime(record.processID) == record.processStart
            {
                kill(record.processID, SIGKILL)
            }
        }
        for id in runtime.containerIDs() { try? runtime.deleteBlocking(id) }
        for uid in Files.names(in: pods) {
            removePod(uid: uid, podsDirectory: pods, runtime: runtime, network: network)
        }
        Mounts.unmountAll(beneath: pods)
        for name in ["pods", "exits", "runc"] { Files.removeTree(dataDirectory + "/" + name) }
        removeCgroups(namePrefix)
    }

    /// Takes away the pod namespaces of all nodes with the prefix, for what lost its directory.
    public static func removeNamespaces(namePrefix: String) {
        for name in NetworkNamespace.names() where name.hasPrefix(namePrefix + "-pod-") {
            try? NetworkNamespace.delete(name)
        }
    }

    /// Ends one pod's containers and takes away all that belongs to it.
    static func removePod(
        uid: String, podsDirectory: String, runtime: ContainerRuntime, network: PodNetwork
    ) {
        let directory = podsDirectory + "/" + uid
        for id in Files.names(in: directory + "/containers") {
            PodWorker.removeContainer(id, directory + "/containers/" + id, runtime)
        }
        network.tearDown(PodSpecification.shortID(uid: uid))
        Mounts.unmountAll(beneath: directory)
        Files.removeTree(directory)
    }

    /// The cgroups of a prefix, in every hierarchy; one that is in use stays.
    private static func removeCgroups(_ namePrefix: String) {
        let root = "/sys/fs/cgroup"
        for place in [root] + Files.names(in: root).map({ root + "/" + $0 }) {
            removeCgroup(place + "/" + namePrefix)
        }
    }

    private static func removeCgroup(_ path: String) {
        guard Files.isDirectory(path) else { return }
        for name in Files.names(in: path) where Files.isDirectory(path + "/" + name) {
            removeCgroup(path + "/" + name)
        }
        rmdir(path)
    }
}
