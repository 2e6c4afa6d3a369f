/// The volumes that a pod can name (v1). Sources that need drivers are kept as given: nothing here
/// reads into them.
let volumeSchemaTable = """
    @core.v1
    Volume
      awsElasticBlockStore any
      azureDisk any
      azureFile any
      cephfs any
      cinder any
      configMap ConfigMapVolumeSource
      csi any
      downwardAPI DownwardAPIVolumeSource
      emptyDir EmptyDirVolumeSource
      ephemeral any
      fc any
      flexVolume any
      flocker any
      gcePersistentDisk any
      gitRepo any
      glusterfs any
      hostPath HostPathVolumeSource
      image ImageVolumeSource
      iscsi any
      name! string
      nfs NFSVolumeSource
      persistentVolumeClaim PersistentVolumeClaimVolumeSource
      photonPersistentDisk any
      portworxVolume any
      projected ProjectedVolumeSource
      quobyte any
      rbd any
      scaleIO any
      secret SecretVolumeSource
      storageos any
      vsphereVolume any
    ConfigMapVolumeSource
      defaultMode int32 =420
      items [KeyToPath]
      name string =""
      optional bool
    SecretVolumeSource
      defaultMode int32 =420
      items [KeyToPath]
      optional bool
      secretName string
    KeyToPath
      key! string
      mode int32
      path! string
    DownwardAPIVolumeSource
      defaultMode int32 =420
      items [DownwardAPIVolumeFile]
    DownwardAPIVolumeFile
      fieldRef ObjectFieldSelector atomic
      mode int32
      path! string
      resourceFieldRef ResourceFieldSelector atomic
    EmptyDirVolumeSource
      medium string
      sizeLimit quantity
    HostPathVolumeSource
      path! string
      type string =""
    ImageVolumeSource
      pullPolicy string
      reference string
    NFSVolumeSource
      path! string
      readOnly bool
      server! string
    PersistentVolumeClaimVolumeSource
      claimName! string
      readOnly bool
    ProjectedVolumeSource
      defaultMode int32 =420
      sources [VolumeProjection]
    VolumeProjection
      clusterTrustBundle any
      configMap ConfigMapProjection
      downwardAPI DownwardAPIProjection
      podCertificate any
      secret ConfigMapProjection
      serviceAccountToken ServiceAccountTokenProjection
    ConfigMapProjection
      items [KeyToPath]
      name string =""
      optional bool
    DownwardAPIProjection
      items [DownwardAPIVolumeFile]
    ServiceAccountTokenProjection
      audience string
      expirationSeconds int64 =3600
      path! string
    PersistentVolumeClaimSpec
      accessModes [string]
      dataSource any
      dataSourceRef any
      resources any
      selector LabelSelector atomic
      storageClassName string
      volumeAttributesClassName string
      volumeMode string =Filesystem
      volumeName string
    """
