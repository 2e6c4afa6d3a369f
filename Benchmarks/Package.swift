// swift-tools-version: 6.2
import PackageDescription

let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
]

/// Programs that measure; `make bench` runs them.
let package = Package(
    name: "portolan-benchmarks",
    dependencies: [
        .package(name: "portolan", path: ".."),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
    ],
    targets: [
        .executableTarget(
            name: "DNSBenchmark",
            dependencies: [
                .product(name: "DNS", package: "portolan"),
                .product(name: "DNSServer", package: "portolan"),
                .product(name: "NetworkTypes", package: "portolan"),
            ],
            swiftSettings: settings),
        .executableTarget(name: "PathBenchmark", swiftSettings: settings),
        .executableTarget(
            name: "ProxyBenchmark",
            dependencies: [
                .product(name: "NetworkTypes", package: "portolan"),
                .product(name: "ServiceProxy", package: "portolan"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: settings),
    ]
)
