gst-launch-1.0 -e \
  nvurisrcbin name=source-0 uri=file:///videos/street.mp4 ! mux.sink_0 \
  nvurisrcbin name=source-1 uri=file:///videos/street.mp4 ! mux.sink_1 \
  nvurisrcbin name=source-2 uri=file:///videos/street.mp4 ! mux.sink_2 \
  nvurisrcbin name=source-3 uri=file:///videos/street.mp4 ! mux.sink_3 \
  nvurisrcbin name=source-4 uri=file:///videos/street.mp4 ! mux.sink_4 \
  nvurisrcbin name=source-5 uri=file:///videos/street.mp4 ! mux.sink_5 \
  nvurisrcbin name=source-6 uri=file:///videos/street.mp4 ! mux.sink_6 \
  nvurisrcbin name=source-7 uri=file:///videos/street.mp4 ! mux.sink_7 \
  nvurisrcbin name=source-8 uri=file:///videos/street.mp4 ! mux.sink_8 \
  nvurisrcbin name=source-9 uri=file:///videos/street.mp4 ! mux.sink_9 \
  nvurisrcbin name=source-10 uri=file:///videos/street.mp4 ! mux.sink_10 \
  nvurisrcbin name=source-11 uri=file:///videos/street.mp4 ! mux.sink_11 \
  nvstreammux name=mux batch-size=12 batched-push-timeout=4000000 width=1920 height=1080 \
    ! nvinfer name=gie-0 config-file-path=configs/pose.txt batch-size=16 interval=2 output-tensor-meta=1 \
    ! queue name=drawing-queue \
    ! nvmultistreamtiler name=tiler rows=3 columns=4 width=1280 height=720 \
    ! nvvideoconvert name=tiler-convert \
    ! nvdsosd name=osd process-mode=0 display-text=1 \
    ! queue name=rtsp-0-queue \
    ! nvvideoconvert name=rtsp-0-convert \
    ! capsfilter name=rtsp-0-caps 'caps=video/x-raw(memory:NVMM),format=I420' \
    ! nvv4l2h264enc name=rtsp-0-encoder bitrate=4000000 iframeinterval=60 \
    ! h264parse name=rtsp-0-parse config-interval=-1 \
    ! rtph264pay name=rtsp-0-pay pt=96 \
    ! udpsink name=rtsp-0 host=127.0.0.1 port=5400 sync=1 async=0 qos=0
