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
    dependencies: [.package(name: "portolan", path: "..")],
    targets: [
        .executableTarget(
            name: "DNSBenchmark",
            dependencies: [
                .product(name: "DNS", package: "portolan"),
                .product(name: "DNSServer", package: "portolan"),
                .product(name: "NetworkTypes", package: "portolan"),
            ],
            swiftSettings: settings)
    ]
)
