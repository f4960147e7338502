gst-launch-1.0 -e \
  nvurisrcbin name=source-0 uri=file:///videos/street.mp4 ! mux.sink_0 \
  nvstreammux name=mux batch-size=1 batched-push-timeout=4000000 width=1920 height=1080 \
    ! nvinfer name=gie-0 config-file-path=configs/pose.txt output-tensor-meta=1 \
    ! queue name=drawing-queue \
    ! nvmultistreamtiler name=tiler rows=1 columns=1 width=1920 height=1080 \
    ! nvvideoconvert name=tiler-convert \
    ! nvdsosd name=osd process-mode=0 display-text=1 \
    ! queue name=file-0-queue \
    ! nvvideoconvert name=file-0-convert \
    ! capsfilter name=file-0-caps caps=video/x-raw,format=I420 \
    ! x265enc name=file-0-encoder bitrate=4000 key-int-max=60 speed-preset=veryfast tune=zerolatency \
    ! h265parse name=file-0-parse config-interval=-1 \
    ! mp4mux name=file-0-mux fragment-duration=1000 \
    ! filesink name=file-0 location=out.mp4 sync=0 async=0
