
:
xPlaceholder*
dtype0*
shape:
†
ExtractImagePatchesExtractImagePatchesx*
strides
*
ksizes
*
rates
*
T0*
paddingVALID
2
IdentityIdentityExtractImagePatches*
T0"ª