gst-launch-1.0 -e \
  nvurisrcbin name=source-0 uri=file:///videos/street.mp4 ! mux.sink_0 \
  nvstreammux name=mux batch-size=1 batched-push-timeout=4000000 width=1920 height=1080 \
    ! nvinfer name=gie-0 config-file-path=configs/pose.txt output-tensor-meta=1 \
    ! queue name=drawing-queue \
    ! nvmultistreamtiler name=tiler rows=1 columns=1 width=1920 height=1080 \
    ! nvvideoconvert name=tiler-convert \
    ! nvdsosd name=osd process-mode=0 display-text=1 \
    ! queue name=screen-0-queue \
    ! nveglglessink name=screen-0 sync=1 qos=0
