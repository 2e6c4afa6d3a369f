import Glibc

// A server of short connections and a client that compares ways to reach it, each in the network
// namespace it is started in.
//
//     PathBenchmark server ADDRESS:PORT…              answers an HTTP request, and closes
//     PathBenchmark client ROTATIONS ADDRESS:PORT…    connects in turn; prints one line of JSON

let arguments = CommandLine.arguments
let endpoints = arguments.dropFirst(2).compactMap(Endpoint.init)
switch arguments.count > 1 ? arguments[1] : "" {
case "server" where !endpoints.isEmpty: ShortServer(endpoints).run()
case "client" where !endpoints.isEmpty:
    print(ShortClient(endpoints, rotationCount: Int(arguments[2]) ?? 10).run())
default:
    print("usage: PathBenchmark server ADDRESS:PORT… | client ROTATIONS ADDRESS:PORT…")
    exit(2)
}
