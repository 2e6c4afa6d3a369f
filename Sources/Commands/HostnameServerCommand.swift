import ArgumentParser
import PodRuntime

/// `portolan hostname-server`: what runs in the image `portolan/hostname`.
struct HostnameServerCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "hostname-server",
        abstract: "Serve the image portolan/hostname (runs inside its pods).",
        shouldDisplay: false)

    func run() throws {
        try HostnameServer.runFromEnvironment()
    }
}
