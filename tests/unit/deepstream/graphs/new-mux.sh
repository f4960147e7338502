USE_NEW_NVSTREAMMUX=yes gst-launch-1.0 -e \
  nvurisrcbin name=source-0 uri=file:///videos/street.mp4 ! mux.sink_0 \
  nvurisrcbin name=source-1 uri=rtsp://10.0.0.7/door latency=200 select-rtp-protocol=4 rtsp-reconnect-interval=5 rtsp-reconnect-attempts=-1 init-rtsp-reconnect-interval=10 ! mux.sink_1 \
  nvstreammux name=mux batch-size=2 batched-push-timeout=40000 \
    ! nvvideoconvert name=readable nvbuf-memory-type=3 \
    ! capsfilter name=readable-caps 'caps=video/x-raw(memory:NVMM),format=RGBA' \
    ! nvinfer name=gie-0 config-file-path=configs/pose.txt output-tensor-meta=1 \
    ! queue name=drawing-queue \
    ! nvmultistreamtiler name=tiler rows=1 columns=2 width=1280 height=720 \
    ! nvvideoconvert name=tiler-convert \
    ! nvdsosd name=osd process-mode=0 display-text=1 \
    ! queue name=file-0-queue \
    ! nvvideoconvert name=file-0-convert \
    ! capsfilter name=file-0-caps 'caps=video/x-raw(memory:NVMM),format=I420' \
    ! nvv4l2h264enc name=file-0-encoder bitrate=4000000 iframeinterval=60 \
    ! h264parse name=file-0-parse config-interval=-1 \
    ! matroskamux name=file-0-mux \
    ! filesink name=file-0 location=out.mkv sync=0 async=0
