gst-launch-1.0 -e \
  nvurisrcbin name=source-0 uri=rtsp://10.0.0.7/door latency=200 select-rtp-protocol=4 rtsp-reconnect-interval=5 rtsp-reconnect-attempts=-1 init-rtsp-reconnect-interval=10 ! mux.sink_0 \
  nvurisrcbin name=source-1 uri=rtsp://10.0.0.7/door2 latency=200 select-rtp-protocol=4 rtsp-reconnect-interval=5 rtsp-reconnect-attempts=-1 init-rtsp-reconnect-interval=10 ! mux.sink_1 \
  nvstreammux name=mux batch-size=2 batched-push-timeout=40000 width=1920 height=1080 live-source=1 \
    ! nvinfer name=gie-0 config-file-path=configs/pose.txt output-tensor-meta=1 \
    ! queue name=drawing-queue \
    ! nvmultistreamtiler name=tiler rows=1 columns=2 width=1280 height=720 \
    ! nvvideoconvert name=tiler-convert \
    ! nvdsosd name=osd process-mode=0 display-text=1 \
    ! queue name=file-0-queue \
    ! nvvideoconvert name=file-0-convert \
    ! capsfilter name=file-0-caps 'caps=video/x-raw(memory:NVMM),format=I420' \
    ! nvv4l2h265enc name=file-0-encoder bitrate=2000000 iframeinterval=60 preset-level=1 insert-sps-pps=1 \
    ! h265parse name=file-0-parse config-interval=-1 \
    ! mp4mux name=file-0-mux fragment-duration=1000 \
    ! filesink name=file-0 location=out.mp4 sync=0 async=0
